//! The scenarios that come with the program, as their files say them.

use crate::scenario::{Fault, Scenario};

/// Name and text.
const TEXTS: [(&str, &str); 22] = [
    ("S1", include_str!("../scenarios/s01.toml")),
    ("S1b", include_str!("../scenarios/s01b.toml")),
    ("S2", include_str!("../scenarios/s02.toml")),
    ("S3", include_str!("../scenarios/s03.toml")),
    ("S4", include_str!("../scenarios/s04.toml")),
    ("S5", include_str!("../scenarios/s05.toml")),
    ("S6", include_str!("../scenarios/s06.toml")),
    ("S7", include_str!("../scenarios/s07.toml")),
    ("S7b", include_str!("../scenarios/s07b.toml")),
    ("S10", include_str!("../scenarios/s10.toml")),
    ("S10b", include_str!("../scenarios/s10b.toml")),
    ("S10c", include_str!("../scenarios/s10c.toml")),
    ("S11", include_str!("../scenarios/s11.toml")),
    ("S12", include_str!("../scenarios/s12.toml")),
    ("S13", include_str!("../scenarios/s13.toml")),
    ("S15", include_str!("../scenarios/s15.toml")),
    ("S16", include_str!("../scenarios/s16.toml")),
    ("S16b", include_str!("../scenarios/s16b.toml")),
    ("S16c", include_str!("../scenarios/s16c.toml")),
    ("S16d", include_str!("../scenarios/s16d.toml")),
    ("absorb1", include_str!("../scenarios/absorb1.toml")),
    ("absorb", include_str!("../scenarios/absorb.toml")),
];

/// A scenario by its name.
///
/// # Errors
/// What is wrong with the text that came with the program.
pub fn find(name: &str) -> Option<Result<Scenario, Fault>> {
    let (_, text) = TEXTS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
    Some(Scenario::parse(text))
}

/// All of them: name, what its first line says, and the text.
pub fn all() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    TEXTS.iter().map(|(name, text)| {
        let about = text.lines().next().unwrap_or_default().trim_start_matches("# ");
        (*name, about, *text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_the_scenario_that_its_name_says() {
        for (name, about, _) in all() {
            let scenario = find(name).expect("listed").expect("valid");
            assert_eq!(scenario.name, name);
            assert!(about.ends_with('.'), "{name} says what it is about");
        }
        assert!(find("S99").is_none());
    }
}
