//! How scenarios are read, and how invalid ones are refused.

use super::*;

const SMALL: &str = "name = \"small\"\nrooms = 2\n[driver]\nper-room = 1\nlocations = 1\n";

fn refused(text: &str) -> String {
    Scenario::read(text, &[]).expect_err("bad").to_string()
}

#[test]
fn a_small_scenario_has_defaults() {
    let scenario = Scenario::read(SMALL, &[]).expect("good");
    assert_eq!((scenario.rooms, scenario.people(), scenario.seed), (Count(2), 2, 1));
    assert_eq!(scenario.hold.0, Duration::from_secs(30));
    let driver = scenario.part(Role::Driver).expect("drivers");
    assert_eq!((driver.locations, driver.since_seq), (Rate(1.0), true));
    assert!(scenario.part(Role::Customer).is_none());
}

#[test]
fn an_unknown_key_and_an_impossible_value_are_refused_with_their_line() {
    for (line, start) in [
        ("driver.colour = 1", "line 4: unknown field `colour`"),
        ("hold = \"soon\"", "line 3: \"soon\" is no time span"),
        ("rooms = 0", "line 3: "),
        ("customer = { per-room = -1 }", "line 3: -1 is no number of people"),
        ("customer = { per-room = 1, chat = -2.5 }", "line 3: -2.5 is no rate"),
        ("customer = { per-room = 1, chat = nan }", "line 3: NaN is no rate"),
        ("hold = 3", "line 3: invalid type"),
        ("order = \"a b\"", "line 3: must be 1 to 128"),
        ("speed =", "line 3: "),
    ] {
        let text = if line.starts_with("driver.") {
            "name = \"x\"\nrooms = 2\n[driver]\ncolour = 1\nper-room = 1\n".to_owned()
        } else {
            SMALL.replacen("[driver]", &format!("{line}\n[driver]"), 1)
        };
        let said = refused(&text);
        assert!(said.starts_with(start), "{line}: {said}");
        assert!(!said.contains('\n'), "{said}");
    }
}

#[test]
fn values_that_do_not_go_together_are_refused() {
    for (text, part) in [
        ("name = \"x\"\nrooms = 1\n", "nobody takes part"),
        ("name = \"x\"\nrooms = 1\n[customer]\nper-room = 1\nlocations = 1\n", "only a driver"),
        (
            "name = \"x\"\nrooms = 1\n[driver]\nper-room = 1\nchat = 1\nchat-in-flight = 1\n",
            "chat or chat-in-flight",
        ),
        ("name = \"x\"\nrooms = 1000000\n[driver]\nper-room = 2\n", "2000000 connections"),
        (
            "name = \"x\"\nrooms = 1\nhold = \"3s\"\nstorm = [{ at = \"3s\" }]\n[driver]\nper-room = 1\n",
            "storm: at 3s the hold is over",
        ),
        (
            "name = \"x\"\nrooms = 1\nhold = \"3s\"\nstep = [{ at = \"4s\", run = \"true\" }]\n[driver]\nper-room = 1\n",
            "step: at 4s the hold is over",
        ),
    ] {
        let said = refused(text);
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn changes_lie_over_the_file() {
    let changes = ["rooms=7", "hold=2s", "driver.locations=0.5", "customer.per-room=2"];
    let changes = changes.map(str::to_owned);
    let scenario = Scenario::read(SMALL, &changes).expect("good");
    assert_eq!((scenario.rooms, scenario.people()), (Count(7), 21));
    assert_eq!(scenario.hold.0, Duration::from_secs(2));
    for (change, part) in [
        ("rooms", "it must be key=value"),
        ("rooms.x=1", "there is no such table"),
        ("driver.colour=red", "unknown field `colour`"),
        ("rooms=0", "0 is no count"),
        ("driver.chat=often", "\"often\", expected a number"),
        ("rooms=1.5", "expected a whole number"),
        ("storm=5", "expected a list"),
        ("driver=5", "expected a table"),
    ] {
        let said = Scenario::read(SMALL, &[change.to_owned()]).expect_err("bad").to_string();
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn a_mistake_in_the_file_has_its_line_also_under_changes_and_a_change_can_mend_it() {
    let text = SMALL.replace("locations = 1", "locations = -1");
    let read = |change: &str| Scenario::read(&text, &[change.to_owned()]);
    let said = read("rooms=3").expect_err("still wrong").to_string();
    assert!(said.starts_with("line 5: -1 is no rate"), "{said}");
    assert!(read("driver.locations=2").is_ok());
}

#[test]
fn a_role_can_be_left_out_but_not_all_roles() {
    let text = SMALL.to_owned() + "[customer]\nper-room = 2\n";
    let scenario = Scenario::read(&text, &["customer.per-room=0".to_owned()]).expect("good");
    assert_eq!(scenario.people(), 2);
    let said = Scenario::read(SMALL, &["driver.per-room=0".to_owned()]).expect_err("nobody");
    assert!(said.to_string().contains("nobody takes part"), "{said}");
}

#[test]
fn every_ready_scenario_can_be_run() {
    for (name, text) in BUILTIN {
        let scenario = Scenario::read(text, &[]).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(scenario.name, *name);
        assert!(!scenario.about.is_empty(), "{name} does not say what it is for");
    }
}

#[test]
fn every_scenario_of_the_comparison_with_others_can_be_run() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../benches/peers/scenarios");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a text");
        let scenario =
            Scenario::read(&text, &[]).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        assert_eq!(path.file_stem(), Some(scenario.name.as_ref()));
        names.push(scenario.name);
    }
    names.sort();
    assert_eq!(names, ["big-room", "chat", "idle", "rooms"]);
}
