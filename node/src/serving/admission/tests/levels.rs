//! What a process leaves to the next one.

use super::*;

#[test]
fn a_restart_goes_on_where_the_process_has_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let (file, saved) = LevelsFile::open(folder.path()).unwrap();
    assert!(saved.rest().is_empty());
    let mut world = World::new(Mode::Enforce, indexed(5, 1));
    world.admission.file = Some(file);
    world.admission.save(false);
    let (_, saved) = LevelsFile::open(folder.path()).unwrap();
    assert!(saved.rest().is_empty(), "nothing has been used");
    assert_eq!(world.drain(Some("red")), 300);
    world.admission.close();
    // What comes behind it, when the tables are gone already, changes nothing.
    world.admission.forget(TABLE);
    world.admission.save(false);

    let (_, saved) = LevelsFile::open(folder.path()).unwrap();
    let next = World::after(Mode::Enforce, indexed(5, 1), saved.rest().clone());
    assert_eq!(next.drain(Some("red")), 0, "the index has nothing left");
    assert_eq!(next.drain(None), 1200, "the table has");
    assert_eq!(next.read(0, HalfUnits(1)), Ok(()));
    // What has not been taken up is kept for later.
    let early = Admission::new(options(Mode::Enforce), elapsed_ms(), saved);
    assert!(early.levels().contains_key(&TABLE));
}

#[test]
fn what_is_set_aside_comes_back_as_it_was() {
    let world = World::new(Mode::Enforce, spec(5));
    world.drain(None);
    world.admission.set_aside(TABLE);
    assert!(world.admission.levels().contains_key(&TABLE));
    world.admission.declare(&world.record, &|_| Some(1));
    assert_eq!(world.drain(None), 0);
}

#[test]
fn a_damaged_file_is_set_aside_and_brings_no_second_burst() {
    for text in ["[1]", "", r#"{"7":{"own":{"wri"#] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admission.json");
        std::fs::write(&path, text).unwrap();
        let (file, saved) = LevelsFile::open(folder.path()).unwrap();
        let aside = std::fs::read_to_string(folder.path().join("admission.json.damaged"));
        assert_eq!(aside.unwrap(), text);
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            text,
            "a crash now finds it again"
        );
        let mut world = World::of(Mode::Enforce, indexed(5, 5), saved);
        assert_eq!(world.drain(Some("red")), 0);
        assert!(world.read(0, HalfUnits(1)).is_err());
        world.wait(1000);
        assert_eq!(world.drain(Some("red")), 5, "it fills as always");
        world.admission.file = Some(file);
        world.admission.save(false);
        let (_, saved) = LevelsFile::open(folder.path()).unwrap();
        assert!(saved.rest().contains_key(&TABLE));
        // A table that is made from now on is new.
        let mut other = Record::create("123456789012", entry_spec("other", 5), Owner::Api, TableId(8), AT);
        other.dates.created_ms = crate::process::now_ms() + 1000;
        other.created();
        world.admission.declare(&other, &|_| Some(1));
        let made = World { record: other, ..world };
        assert_eq!(made.drain(None), 1500);
    }
}
