//! The kept corpus, played once: what a fuzzer found stays found.
#![expect(
    clippy::print_stderr,
    reason = "a failing input aborts the process: its name has to be told before"
)]

use std::path::Path;

fn play(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let files = std::fs::read_dir(&folder).expect("a folder of inputs");
    let mut count = 0;
    for file in files {
        let path = file.expect("an input").path();
        let input = std::fs::read(&path).expect("readable");
        eprintln!("{}", path.display());
        check(&input);
        count += 1;
    }
    assert!(count > 0, "{} is empty", folder.display());
}

#[test]
fn the_corpus_holds() {
    play("verdict", fuzz::verdict::check);
    play("request", fuzz::request::check);
    play("decompression", fuzz::decompression::check);
}
