//! What the README and the book tell people to type is understood by the program.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

fn pages(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the book") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            pages(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// The commands in a page's code blocks: lines that begin with `carillon`, with or without a prompt; comments end them.
fn commands(page: &str) -> Vec<String> {
    let blocks = page.split("```").skip(1).step_by(2);
    let lines = blocks.flat_map(str::lines).map(|line| line.trim_start_matches("$ "));
    let commands = lines.filter(|line| line.starts_with("carillon "));
    commands.map(|line| line.split(" #").next().unwrap_or(line).trim().to_owned()).collect()
}

#[test]
fn every_command_in_the_documentation_is_understood() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = vec![root.join("README.md")];
    pages(&root.join("docs/src"), &mut files);
    let mut count = 0;
    for file in files {
        for command in commands(&fs::read_to_string(&file).expect("a page")) {
            let words = command.split_whitespace().skip(1).take_while(|word| !["|", ">"].contains(word));
            let mut program = Command::new(assert_cmd::cargo::cargo_bin!("carillon"));
            // Help is printed only if everything before it is understood.
            let output = program.args(words).arg("--help").output().expect("the program runs");
            assert!(
                output.status.success(),
                "{}: {command}: {}",
                file.display(),
                String::from_utf8_lossy(&output.stderr)
            );
            count += 1;
        }
    }
    assert!(count >= 10, "only {count} commands were found");
}

#[test]
fn the_readmes_transcript_is_what_the_main_job_prints() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let readme = fs::read_to_string(readme).expect("the README");
    let transcript = readme.split("<!-- transcript -->").nth(1).and_then(|rest| rest.split("```").nth(1)).expect("it");
    let output = Command::new(assert_cmd::cargo::cargo_bin!("carillon")).output().expect("the program runs");
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    let mut printed = printed.lines();
    let lines: Vec<&str> = transcript.lines().skip(1).filter(|line| !line.is_empty() && *line != "…").collect();
    assert!(lines.len() > 10);
    for line in lines {
        assert!(printed.any(|is| is == line), "not printed, or not in this order: {line}");
    }
}

#[test]
fn the_plans_in_the_book_are_what_explain_move_prints() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/vcpu-moves.md");
    let page = fs::read_to_string(page).expect("a page");
    let blocks = page.split("```").skip(1).step_by(2);
    let mut engines = 0;
    for block in blocks.filter_map(|block| block.strip_prefix("text\n$ carillon explain move ")) {
        let (arguments, shown) = block.split_once('\n').expect("what it prints");
        let mut program = Command::new(assert_cmd::cargo::cargo_bin!("carillon"));
        let output = program.args(["explain", "move"]).args(arguments.split(' ')).output().expect("the program runs");
        assert!(output.status.success());
        assert_eq!(shown, String::from_utf8(output.stdout).expect("UTF-8"), "{arguments}");
        engines += 1;
    }
    assert_eq!(engines, 4, "a plan for each engine");
}
