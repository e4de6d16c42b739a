//! The running server against its own document: schemathesis generates requests from `/openapi.json`,
//! right ones and wrong ones, and every answer has to be one that the document names.
//!
//! The registered schemas are in the document, so the generated events meet them. What is switched off,
//! and why, stands in tests/schemathesis/schemathesis.toml.

mod fixture;

use std::path::Path;

use anyhow::{Context, ensure};
use loadtest::deployment::{Settings, producers};
use tokio::process::Command;

/// Uses what registered schemas use: references into themselves, bounds, enumerations, both drafts.
const PAID: &str = r##"{
    "type": "object",
    "required": ["amount"],
    "additionalProperties": false,
    "properties": {
        "amount": {"type": "integer", "minimum": 1, "maximum": 1000000},
        "currency": {"$ref": "#/$defs/currency"},
        "items": {"type": "array", "maxItems": 5, "items": {"$ref": "#/$defs/item"}}
    },
    "$defs": {
        "currency": {"enum": ["EUR", "USD"]},
        "item": {
            "type": "object",
            "required": ["sku"],
            "properties": {"sku": {"type": "string", "minLength": 1, "maxLength": 20}}
        }
    }
}"##;
const CANCELLED: &str = r##"{
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "required": ["reason"],
    "properties": {"reason": {"$ref": "#/definitions/reason"}},
    "definitions": {"reason": {"enum": ["late", "broken", "other"]}}
}"##;

#[tokio::test(flavor = "multi_thread")]
async fn the_server_keeps_its_own_document() -> anyhow::Result<()> {
    let run = fixture::Run::new("contract")?;
    let embedded = run.embedded(&settings(&run.dir)?).await?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemathesis");
    let output = Command::new(fixture::conformance().join("schemathesis/bin/schemathesis"))
        .arg("--config-file")
        .arg(folder.join("schemathesis.toml"))
        .args(["run", &format!("http://{}/openapi.json", embedded.target().get())])
        .args(["--header", &format!("Authorization: Bearer {}", producers()[0].key)])
        .env("SCHEMATHESIS_HOOKS", folder.join("hooks.py"))
        .current_dir(&run.dir)
        .kill_on_drop(true)
        .output()
        .await
        .context("run schemathesis")?;
    let printed = String::from_utf8_lossy(&output.stdout);
    println!("{printed}");
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "schemathesis: {}\n{complaint}", output.status);
    // A run that found no operation is none.
    ensure!(printed.contains("9 selected / 9 total"), "too little was tested");
    embedded.stop().await
}

fn settings(dir: &Path) -> anyhow::Result<Settings> {
    let mut set = vec!["schemas.unknown_type=reject".to_owned()];
    for (number, (event_type, schema)) in
        [("order.paid", PAID), ("order.cancelled", CANCELLED)].into_iter().enumerate()
    {
        let file = dir.join(format!("{event_type}.json"));
        std::fs::write(&file, schema).with_context(|| file.display().to_string())?;
        set.push(format!("schema[{number}].type={event_type}"));
        set.push(format!("schema[{number}].file={}", file.display()));
    }
    let source = [
        "source=/hook",
        "id=header:x-id",
        "type=header:x-type",
        "tenant_default=acme",
        "signature=none",
    ];
    set.extend(source.map(|setting| format!("source.hook.{setting}")));
    Ok(Settings { set, ..Settings::default() })
}
