//! Options may stand before the word of what they belong to: `simulate --seed 2 ipi` is `simulate ipi --seed 2`.

use std::ffi::OsString;

use clap::Command;
use clap::CommandFactory as _;

use super::Cli;

/// The words of a command line, the program's name first, with such a word in front of the options before it. What is no word
/// of a command's own (a scenario, a term) stays where it is.
pub(crate) fn in_order(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = words.into_iter().collect();
    let mut cli = Cli::command();
    cli.build();
    let Some((first, command)) = own_word(&cli, &words, 1) else { return words };
    if let Some((second, _)) = own_word(command, &words, first + 1) {
        words[first + 1..=second].rotate_right(1);
    }
    words
}

/// Where the first word from `start` on stands that is no option, and which of the command's own commands it names.
fn own_word<'c>(command: &'c Command, words: &[OsString], start: usize) -> Option<(usize, &'c Command)> {
    let mut position = start;
    loop {
        let word = words.get(position)?.to_str()?;
        match word.strip_prefix("--") {
            Some("") => return None,
            Some(option) => position += if !option.contains('=') && takes_a_value(command, option) { 2 } else { 1 },
            None if word.starts_with('-') => position += 1,
            None => return Some((position, command.find_subcommand(word)?)),
        }
    }
}

/// Whether a value follows this option, be it the command's or one of its own commands'.
fn takes_a_value(command: &Command, option: &str) -> bool {
    let all = [command].into_iter().chain(command.get_subcommands()).flat_map(Command::get_arguments);
    all.filter(|argument| argument.get_long() == Some(option)).any(|argument| argument.get_action().takes_values())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::Parser as _;

    use super::Cli;
    use super::in_order;

    fn ordered(line: &str) -> String {
        let words = in_order(line.split(' ').map(OsString::from));
        words.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn options_before_a_word_of_the_command_are_understood_like_those_after_it() {
        for (line, same) in [
            ("carillon simulate --seed 2 ipi", "carillon simulate ipi --seed 2"),
            ("carillon simulate --seed=2 --json ipi --vcpus 4", "carillon simulate ipi --seed=2 --json --vcpus 4"),
            ("carillon --color never simulate --json ipi", "carillon --color never simulate ipi --json"),
            ("carillon explain --from 1 --json move --to 2", "carillon explain move --from 1 --json --to 2"),
        ] {
            assert_eq!(ordered(line), same);
            let parsed = |line: &str| Cli::try_parse_from(in_order(line.split(' ').map(OsString::from)));
            assert_eq!(format!("{:?}", parsed(line).unwrap()), format!("{:?}", parsed(same).unwrap()));
        }
    }

    #[test]
    fn a_value_or_a_scenario_of_the_same_name_stays_where_it_is() {
        for line in [
            "carillon",
            "carillon simulate",
            "carillon simulate --report ipi",
            "carillon simulate --seed 2 ./ipi",
            "carillon simulate scenario ipi",
            "carillon simulate --seed 2 -- ipi",
            "carillon explain PPR",
            "carillon explain --json posted move",
            "carillon inspect ipi",
        ] {
            assert_eq!(ordered(line), line);
        }
    }
}
