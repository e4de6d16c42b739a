//! Prometheus's text format, version 0.0.4, as far as a bench reads it: `name{labels} value`.

/// One line of a family.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'t> {
    labels: &'t str,
    /// Its value.
    pub value: f64,
}

impl<'t> Sample<'t> {
    /// The value of a label. Values with quotes in them are none of ours.
    pub fn label(&self, name: &str) -> Option<&'t str> {
        self.labels.split("\",").find_map(|label| {
            let (found, value) = label.split_once("=\"")?;
            (found == name).then(|| value.trim_end_matches('"'))
        })
    }
}

/// All samples of the family `name`; none where it is not exported.
pub fn samples<'t>(text: &'t str, name: &str) -> impl Iterator<Item = Sample<'t>> {
    text.lines().filter_map(move |line| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = match rest.strip_prefix('{') {
            Some(labelled) => labelled.rsplit_once("} ")?,
            None => ("", rest.strip_prefix(' ')?),
        };
        Some(Sample { labels, value: value.trim().parse().ok()? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_labels_and_values() {
        let text =
            "# HELP a x\na{class=\"control\",partition=\"3\"} 2.5\na_b{class=\"x\"} 1\na 4\n";
        let all: Vec<_> = samples(text, "a").collect();
        assert_eq!(all.iter().map(|one| one.value).collect::<Vec<_>>(), [2.5, 4.0]);
        assert_eq!(
            (all[0].label("class"), all[0].label("partition")),
            (Some("control"), Some("3"))
        );
        assert_eq!((all[0].label("part"), all[1].label("class")), (None, None));
    }
}
