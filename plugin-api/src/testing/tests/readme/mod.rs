//! The README's examples are these files, word for word.

mod counter;
mod dice;
mod notes;

use crate::testing::FakeHost;

const ANN: &str = "ann@example.org/x";

#[test]
fn the_readme_shows_what_is_tested_here() {
    let readme = include_str!("../../../../README.md");
    for example in [include_str!("dice.rs"), include_str!("notes.rs"), include_str!("counter.rs")] {
        assert!(readme.contains(example), "not in the README, or not so:\n{example}");
    }
}

#[test]
fn the_waiting_example_answers() {
    let host = FakeHost::new("example.org");
    host.store("notes", "ann@example.org", b"milk");
    let module = host.start::<notes::Notes>("{}");
    let answer = module.iq_get(ANN, "example.org", "<note xmlns='urn:example:notes'/>").unwrap().unwrap();
    assert_eq!((answer.text().as_str(), host.now_ms()), ("milk", 100));
    assert!(module.iq_get("bob@example.org/x", "example.org", "<note xmlns='urn:example:notes'/>").is_err());
}

#[test]
fn the_state_example_goes_on_counting() {
    let host = FakeHost::new("example.org");
    let old = host.start::<counter::Counter>("{}");
    let count = |module: &crate::testing::Instance| {
        module.iq_get(ANN, "example.org", "<count xmlns='urn:example:count'/>").unwrap().unwrap().text()
    };
    assert_eq!((count(&old), count(&old)), ("0".into(), "1".into()));
    let (schema, bytes) = old.export_state().unwrap();
    let new = host.start_swap::<counter::Counter>("{}");
    assert!(new.import_state(2, &bytes).is_err());
    new.import_state(schema, &bytes).unwrap();
    assert_eq!(count(&new), "2");
}
