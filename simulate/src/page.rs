//! A run as one page: inline SVG, no script, nothing fetched.

use std::fmt::Write;

use crate::scenario::{Scenario, Topology};
use crate::summary::Summary;
use crate::table;
use crate::trace::{Row, Trace};

const WIDTH: f64 = 920.0;
const HEIGHT: f64 = 150.0;
/// A line has at most so many points; a picture shows no more, and a page of many runs stays small.
const POINTS_MAX: usize = 600;

/// A line of a panel: its name, its colour, its value.
type Line = (&'static str, &'static str, fn(&Row) -> Option<f64>);

/// A picture.
struct Panel {
    title: &'static str,
    unit: &'static str,
    lines: &'static [Line],
}

const PANELS: [Panel; 5] = [
    Panel {
        title: "Offered and let in",
        unit: "events/s",
        lines: &[
            ("offered", "#999999", |row| Some(row.offered_per_s)),
            ("let in", "#0072b2", |row| Some(row.admitted_per_s)),
            ("capacity", "#009e73", |row| Some(row.capacity_per_s)),
        ],
    },
    Panel {
        title: "Shed by class",
        unit: "events/s",
        lines: &[
            ("telemetry", "#e69f00", |row| Some(row.shed_per_s[2])),
            ("transactional", "#d55e00", |row| Some(row.shed_per_s[1])),
            ("control", "#cc79a7", |row| Some(row.shed_per_s[0])),
        ],
    },
    Panel {
        title: "Age of the oldest record",
        unit: "s",
        lines: &[
            ("telemetry", "#e69f00", |row| Some(row.lag_s[2])),
            ("transactional", "#d55e00", |row| Some(row.lag_s[1])),
            ("control", "#cc79a7", |row| Some(row.lag_s[0])),
        ],
    },
    Panel {
        title: "Limit and capacity",
        unit: "events/s",
        lines: &[
            ("limit", "#0072b2", |row| row.limit_per_s),
            ("capacity", "#009e73", |row| Some(row.capacity_per_s)),
        ],
    },
    Panel {
        title: "Consumers",
        unit: "",
        lines: &[("consumers", "#009e73", |row| Some(f64::from(row.consumers)))],
    },
];

/// The page of one or several runs.
pub fn page(runs: &[(Scenario, Trace, Summary)]) -> String {
    let mut html = String::from(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>shock simulate</title>\n\
         <style>body{font:14px system-ui,sans-serif;margin:2em;max-width:980px}pre{overflow-x:auto}\
         h2{margin-top:2em}figure{margin:0 0 1em}figcaption{margin-bottom:.2em}\
         svg{background:#fafafa;width:100%}text{font:11px system-ui,sans-serif;fill:#555}</style>\n\
         </head><body>\n<h1>shock simulate</h1>\n",
    );
    let lines = runs.iter().map(|(scenario, _, summary)| table::line(scenario, summary));
    let lines: Vec<String> = lines.collect();
    push(&mut html, format_args!("<pre>{}\n{}</pre>\n", table::HEAD, escaped(&lines.join("\n"))));
    for (scenario, trace, _) in runs {
        push(&mut html, format_args!("<h2>{}</h2>\n", escaped(&scenario.name)));
        if scenario.log.topology == Topology::PerClass {
            html.push_str(
                "<p>One topic per class; the limit shown is the transactional one.</p>\n",
            );
        }
        for panel in &PANELS {
            draw(&mut html, panel, trace);
        }
    }
    html.push_str("</body></html>\n");
    html
}

fn draw(html: &mut String, panel: &Panel, trace: &Trace) {
    let values = |line: &Line| trace.rows.iter().filter_map(line.2).fold(0.0, f64::max);
    let top = panel.lines.iter().map(values).fold(0.0, f64::max).max(1e-9) * 1.05;
    let end = trace.rows.last().map_or(1.0, |row| row.at_s).max(1e-9);
    push(html, format_args!("<figure><figcaption>{}", panel.title));
    for (name, colour, _) in panel.lines {
        push(html, format_args!(" <span style=\"color:{colour}\">&#9632;</span> {name}"));
    }
    push(
        html,
        format_args!(
            "</figcaption>\n<svg viewBox=\"-60 -8 {} {}\">\n",
            WIDTH + 90.0,
            HEIGHT + 30.0
        ),
    );
    for part in 0..=4_u32 {
        let share = f64::from(part) / 4.0;
        let (x, y) = (WIDTH * share, HEIGHT * (1.0 - share));
        push(
            html,
            format_args!(
                "<path d=\"M0 {y:.1}H{WIDTH}\" stroke=\"#ddd\"/><text x=\"-6\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{:.0} s</text>\n",
                y + 4.0,
                label(top * share),
                HEIGHT + 16.0,
                end * share,
            ),
        );
    }
    push(html, format_args!("<text x=\"4\" y=\"6\">{}</text>\n", panel.unit));
    for (_, colour, value) in panel.lines {
        let path = path(trace, *value, end, top);
        push(
            html,
            format_args!(
                "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>\n"
            ),
        );
    }
    html.push_str("</svg></figure>\n");
}

/// The line's path; where there is no value it is interrupted.
fn path(trace: &Trace, value: fn(&Row) -> Option<f64>, end: f64, top: f64) -> String {
    let every = trace.rows.len().div_ceil(POINTS_MAX).max(1);
    let mut path = String::new();
    let mut draws = false;
    for rows in trace.rows.chunks(every) {
        // The largest of a group: a peak is what a reader looks for.
        let largest = rows.iter().filter_map(value).reduce(f64::max);
        let Some(largest) = largest else {
            draws = false;
            continue;
        };
        let (x, y) = (rows[0].at_s / end * WIDTH, HEIGHT * (1.0 - largest / top));
        push(&mut path, format_args!("{}{x:.1} {y:.1}", if draws { "L" } else { "M" }));
        draws = true;
    }
    path
}

fn label(value: f64) -> String {
    match value {
        _ if value >= 10_000.0 => format!("{:.0}k", value / 1_000.0),
        _ if value >= 1_000.0 => format!("{:.1}k", value / 1_000.0),
        _ if value >= 10.0 => format!("{value:.0}"),
        _ if value >= 1.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes everything");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_whole_and_says_nothing_of_its_own() {
        let scenario = Scenario { name: "<b>&".to_owned(), ..Scenario::default() };
        let limited = Row { at_s: 1.0, limit_per_s: Some(5.0), ..Row::default() };
        let open = Row { at_s: 2.0, ..Row::default() };
        let last = Row { at_s: 3.0, ..limited };
        let trace = Trace { rows: vec![limited, open, last] };
        let html = page(&[(scenario, trace, Summary::default())]);
        assert!(html.contains("&lt;b&gt;&amp;") && !html.contains("<b>"));
        assert_eq!(html.matches("<svg").count(), PANELS.len());
        assert_eq!(html.matches("<svg").count(), html.matches("</svg>").count());
        assert!(!html.contains("NaN") && !html.contains("inf") && !html.contains("http"));
        // Where there is no limit the line is interrupted.
        let limit =
            path(&Trace { rows: vec![limited, open, last] }, |row| row.limit_per_s, 3.0, 5.0);
        assert_eq!(limit.matches('M').count(), 2);
    }
}
