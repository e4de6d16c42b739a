//! `shock simulate`: what the limits would do under a load, as a table and as a page.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::Context;
use simulate::scenario::Scenario;
use simulate::{catalogue, compare, page, table};

use crate::cli::SimulateOptions;
use crate::exit::End;
use crate::output;

/// Runs without a named scenario.
const DEFAULT: &str = "S1";
/// A scenario's file has some hundred lines; a larger one is something else.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Runs the command.
pub fn run(options: &SimulateOptions) -> anyhow::Result<()> {
    if options.list {
        return Ok(output::text(&list())?);
    }
    let names = match options.scenarios.as_slice() {
        [] => &[DEFAULT.to_owned()],
        named => named,
    };
    if options.print {
        return print(names);
    }
    let mut runs = Vec::new();
    let mut head = Some(table::HEAD);
    for name in names {
        if let Some(text) = table::experiment(name) {
            output::text(&text)?;
            continue;
        }
        let mut scenario = find(name)?;
        scenario.seed = options.seed.unwrap_or(scenario.seed);
        let variants = match options.compare {
            true => compare::variants(&scenario),
            false => vec![scenario],
        };
        for variant in variants {
            if let Some(head) = head.take() {
                output::line(head)?;
            }
            let (trace, summary) = simulate::run(&variant);
            output::line(&table::line(&variant, &summary))?;
            runs.push((variant, trace, summary));
        }
    }
    if let Some(path) = &options.html {
        fs::write(path, page::page(&runs)).with_context(|| format!("write {}", path.display()))?;
        output::announce("page", &path.display().to_string())?;
    }
    Ok(())
}

/// A scenario by its name or file.
fn find(name: &str) -> anyhow::Result<Scenario> {
    let text = text_of(name)?;
    let wrong = |fault| End::Config(format!("{name}: {fault}"));
    Ok(Scenario::parse(&text).map_err(wrong)?)
}

fn text_of(name: &str) -> anyhow::Result<String> {
    let known = catalogue::all().find(|(known, ..)| known.eq_ignore_ascii_case(name));
    if let Some((_, _, text)) = known {
        return Ok(text.to_owned());
    }
    if !Path::new(name).exists() {
        let what = "no scenario of that name (--list has them), and no such file";
        return Err(End::Config(format!("{name}: {what}")).into());
    }
    let file = fs::metadata(name).with_context(|| format!("read {name}"))?;
    if file.len() > FILE_BYTES_MAX {
        return Err(End::Config(format!("{name}: {} bytes are no scenario", file.len())).into());
    }
    fs::read_to_string(name).with_context(|| format!("read {name}"))
}

fn list() -> String {
    let scenarios = catalogue::all().map(|(name, about, _)| (name, about));
    scenarios.chain(table::EXPERIMENTS).fold(String::new(), |mut text, (name, about)| {
        writeln!(text, "{name:<8} {about}").expect("a string takes everything");
        text
    })
}

fn print(names: &[String]) -> anyhow::Result<()> {
    for name in names {
        output::text(&text_of(name)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_scenario_is_told_apart() {
        let check = |name: &str, part: &str| {
            let error = find(name).expect_err(name);
            assert!(matches!(error.downcast_ref(), Some(End::Config(_))), "{name}: {error:?}");
            assert!(error.to_string().contains(part), "{name}: {error}");
        };
        check("S99", "S99: no scenario of that name");
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        fs::write(file.path(), "[load]\n\nbase = 5").expect("written");
        let name = file.path().display().to_string();
        check(&name, "line 3");
        check(&name, "unknown field `base`");
        fs::write(file.path(), "[consumers]\nstart = 9").expect("written");
        check(&name, "consumers.max is 6: from consumers.start to 10000");
    }

    #[test]
    fn the_example_in_the_book_is_a_scenario() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/scenarios/black-friday.toml");
        assert_eq!(find(path).expect("valid").name, "black friday");
    }
}
