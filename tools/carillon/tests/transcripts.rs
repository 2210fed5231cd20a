//! What the book shows the program printing is what it prints.
//!
//! A block after `<!-- printed by: carillon … -->` is a transcript; a line `…` in it leaves something out.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

const MARK: &str = "<!-- printed by: carillon ";

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

/// The commands of a page with what they are shown to print.
fn transcripts(page: &str) -> Vec<(&str, &str)> {
    let marked = page.split(MARK).skip(1).map(|rest| {
        let (command, rest) = rest.split_once(" -->").expect("the mark ends");
        (command, rest.split("```").nth(1).expect("a block follows the mark"))
    });
    marked.collect()
}

#[test]
fn transcripts_in_the_book_are_what_the_program_prints() {
    let mut files = Vec::new();
    pages(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src"), &mut files);
    let mut count = 0;
    for file in files {
        for (command, shown) in transcripts(&fs::read_to_string(&file).expect("a page")) {
            let words = command.split_whitespace();
            let output = Command::new(assert_cmd::cargo::cargo_bin!("carillon")).args(words).output().expect("it runs");
            let printed = String::from_utf8(output.stdout).expect("UTF-8");
            let mut printed = printed.lines().filter(|line| !line.is_empty());
            let mut may_skip = true;
            let lines: Vec<&str> = shown.lines().skip(1).filter(|line| !line.is_empty()).collect();
            assert!(lines.len() > 2, "{}: {command}: nothing is shown", file.display());
            for line in lines {
                if line == "…" {
                    may_skip = true;
                    continue;
                }
                let found = if may_skip { printed.find(|is| *is == line) } else { printed.next() };
                assert_eq!(found, Some(line), "{}: {command}", file.display());
                may_skip = false;
            }
            count += 1;
        }
    }
    assert!(count >= 4, "only {count} transcripts were found");
}
