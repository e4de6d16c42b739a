//! docs/HTTP.md's table of JSON texts, run row by row in both profiles, and what stands beside it.

use shared::config::JsonProfile;

use crate::client::Post;
use crate::fixture::Fixture;

const PAGE: &str = include_str!("../../../docs/HTTP.md");
const MARK: &str = "<!-- the table that ingress/tests/contract/json.rs runs -->";

/// The rows: text, then the verdict of each profile.
fn rows() -> Vec<[&'static str; 3]> {
    let (_, table) = PAGE.split_once(MARK).expect("the page has the mark");
    let lines = table.lines().skip_while(|line| !line.starts_with('|')).skip(2);
    let rows = lines.take_while(|line| line.starts_with('|')).map(|line| {
        let mut cells = line.trim_matches('|').split(" | ").map(str::trim);
        [cells.next(), cells.next(), cells.next()].map(|cell| cell.expect("three cells"))
    });
    rows.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_table_holds() {
    let rows = rows();
    assert!(rows.len() >= 25, "{}", rows.len());
    for (profile, column) in [(JsonProfile::Postgres, 1), (JsonProfile::Rfc8259, 2)] {
        let server = Fixture::start_with(|config| config.json_profile = profile);
        for row in &rows {
            let text = row[0].trim_matches('`');
            let event = format!(r#"{{"type":"order.placed","data":{{"n":1,"x":{text}}}}}"#);
            let before = server.log.records().len();
            let answer = Post::json(&event).send(&server).await;
            let (status, code) = row[column].split_once(' ').unwrap_or((row[column], ""));
            assert_eq!(answer.status.to_string(), status, "{profile:?} {text}");
            match code.trim_matches('`') {
                "" => {
                    let records = server.log.records();
                    assert_eq!(records.len(), before + 1, "{profile:?} {text}");
                    assert!(records.iter().any(|record| record.value == event), "{text}");
                }
                code => drop(answer.problem(answer.status, code)),
            }
        }
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_and_spaces_around_a_text() {
    let server = Fixture::start();
    let event = r#"{"type":"order.placed","data":{"n":1}}"#;
    let check = async |body: String, content_type: &str, status: u16| {
        let post = Post::json(&body).header("content-type", content_type);
        let answer = post.send(&server).await;
        assert_eq!(answer.status, status, "{body:?}");
        answer.json()
    };
    check(format!(" \t\r\n{event}\r\n"), "application/json", 202).await;
    let marked = check(format!("\u{feff}{event}"), "application/json", 400).await;
    assert_eq!(marked["code"], "malformed_json");
    let lines = format!("\u{feff}{event}\r\n\r\n  {event}  \n\n");
    let mixed = check(lines, "application/x-ndjson", 207).await;
    assert_eq!((&mixed["accepted"], &mixed["rejected"]), (&1.into(), &1.into()));
    check(format!("{event}{event}"), "application/json", 400).await;
    check(format!("{event}{event}"), "application/x-ndjson", 400).await;
    server.stop().await;
}
