//! The header is what cbindgen writes from the crate today, and the library has what it declares.

use std::env;
use std::fs;
use std::path::Path;

/// With this variable set, the test writes the header instead of checking it.
const WRITE: &str = "CARILLON_WRITE_HEADER";

fn written() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let bindings = cbindgen::generate(folder).expect("cbindgen understands the crate");
    let mut header = Vec::new();
    bindings.write(&mut header);
    let header = String::from_utf8(header).expect("UTF-8");
    // What Rust calls safety is the header's chapter on pointers.
    let kept =
        header.lines().filter(|line| !line.contains("# Safety") && !line.contains("See the crate's \"Pointers\""));
    let lines: Vec<&str> = kept.map(str::trim_end).collect();
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        let is_left_over = *line == "//" && !lines.get(index + 1).is_some_and(|next| next.starts_with("// "));
        if !is_left_over {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[test]
fn the_header_is_current() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/carillon.h");
    let written = written();
    if env::var_os(WRITE).is_some() {
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        fs::write(&file, &written).expect("the header");
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    assert!(committed == written, "write it anew: {WRITE}=1 cargo test -p carillon-capi --test header");
}

#[test]
fn every_function_of_the_crate_is_in_the_header_and_is_documented() {
    let header = written();
    let mut count = 0;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in rust_files(&folder) {
        let source = fs::read_to_string(&file).expect("a source file");
        for line in source.lines().filter(|line| line.starts_with("pub") && line.contains("extern \"C\" fn carillon_"))
        {
            let name = line.split("fn ").nth(1).and_then(|rest| rest.split('(').next()).expect("a name");
            let declared = header.lines().position(|line| line.contains(&format!("{name}(")));
            let declared = declared.unwrap_or_else(|| panic!("{name} is not in the header"));
            let above = header.lines().nth(declared - 1).expect("a line above");
            assert!(above.starts_with("//"), "{name} is not documented");
            count += 1;
        }
    }
    assert!(count > 30, "only {count} functions were found");
}

fn rust_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
    let files = entries.flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] });
    files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}
