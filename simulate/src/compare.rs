//! The same scenario under other rules, side by side.

use crate::scenario::{Fault, Rule, Scale, Scenario, Shed, Topology};

/// What changes of a scenario.
struct Variant {
    name: &'static str,
    rule: Rule,
    scale: Option<Scale>,
}

const fn variant(name: &'static str, rule: Rule, scale: Option<Scale>) -> Variant {
    Variant { name, rule, scale }
}

const VARIANTS: [Variant; 9] = [
    variant("ours", Rule::Ours, None),
    variant("no limits", Rule::None, None),
    variant("static limit", Rule::Static, None),
    variant("the paper: probability at 15 s", Rule::Paper, Some(Scale::Lag)),
    variant("the paper, read kindly", Rule::PaperBest, Some(Scale::Lag)),
    variant("AIMD", Rule::Aimd, None),
    variant("no limits, scaled by CPU", Rule::None, Some(Scale::Cpu)),
    variant("no limits, scaled by lag", Rule::None, Some(Scale::Lag)),
    variant("no limits, scaled by demand", Rule::None, Some(Scale::Demand)),
];

/// The scenario as it is, and under the other rules. They know one limit, so they run on one topic; a
/// scenario without scaling has none in the others either.
pub fn variants(scenario: &Scenario) -> Vec<Scenario> {
    let scales = scenario.consumers.scale != Scale::None;
    let kept =
        VARIANTS.iter().filter(|one| scales || one.scale.is_none() || one.rule != Rule::None);
    let changed = kept.map(|one| {
        let mut other = scenario.clone();
        other.name = one.name.to_owned();
        if one.rule == Rule::Ours {
            return other;
        }
        other.control.rule = one.rule;
        other.control.shed = Shed::Uniform;
        other.control.dead = None;
        other.log.topology = Topology::Shared;
        other.consumers.scale = one.scale.filter(|_| scales).unwrap_or(other.consumers.scale);
        other
    });
    changed.collect()
}

/// Rules that know one limit need one topic.
pub(crate) fn check(scenario: &Scenario) -> Result<(), Fault> {
    let many = scenario.log.topology == Topology::PerClass;
    let knows_classes = matches!(scenario.control.rule, Rule::Ours | Rule::None);
    if many && !knows_classes {
        return Err(Fault::Value {
            key: "control.rule",
            value: format!("{:?}", scenario.control.rule).to_lowercase(),
            wanted: "ours or none where log.topology is per_class",
        });
    }
    if many && scenario.control.dead.is_some() {
        return Err(Fault::Value {
            key: "log.topology",
            value: "per_class".to_owned(),
            wanted: "shared where control.dead is set",
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_is_there_once_and_nothing_else_changes() {
        let scenario = Scenario::parse("").expect("defaults");
        let all = variants(&scenario);
        assert_eq!(all.len(), VARIANTS.len());
        assert!(all.iter().all(|one| one.seed == scenario.seed));
        let fixed = Scenario::parse("[consumers]\nscale = \"none\"").expect("valid");
        assert!(variants(&fixed).iter().all(|one| one.consumers.scale == Scale::None));
    }

    #[test]
    fn a_rule_with_one_limit_refuses_topics_per_class() {
        let text = "[log]\ntopology = \"per_class\"\n[control]\nrule = \"aimd\"";
        let fault = Scenario::parse(text).expect_err("one limit").to_string();
        assert!(fault.contains("control.rule is aimd"), "{fault}");
    }
}
