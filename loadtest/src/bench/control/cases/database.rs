//! A database that can do only so much, whoever asks: each batch holds the one row of a projection for as
//! long as its events take there.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::super::plan::Scale;

const DDL: &str = "create schema if not exists projections;\n\
                   create table projections.one_row (id int primary key, events bigint not null);\n";

/// What it can do of all classes together, events/s: as much as the writers of both limited classes.
pub fn capacity_per_s(scale: Scale) -> f64 {
    2.0 * scale.class_per_s()
}

/// A batch takes this part of a second there: a statement that others wait for is no long one.
const BATCH_SHARE: f64 = 1.0 / 16.0;

/// Writes the configuration of it; its file. A writer alone may use all of it, a batch at a time.
pub fn configure(dir: &Path, scale: Scale) -> anyhow::Result<PathBuf> {
    let per_s = capacity_per_s(scale);
    let (each_s, batch) = (1.0 / per_s, (per_s * BATCH_SHARE).ceil());
    let text = format!(
        "[consumer]\nrate_per_s_max = {per_s}\nbatch_records_max = {batch}\n\n\
         [[projection]]\nname = \"one_row\"\ntypes = [\"bench.*\"]\n\
         sample = ['{{\"type\":\"bench.telemetry\",\"data\":{{}}}}']\n\n\
         [projection.sql]\npostgres = \"\"\"\n\
         insert into projections.one_row as r (id, events)\n\
         select 1, count(*) from fresh having count(*) > 0\n\
         on conflict (id) do update set events = r.events + excluded.events\n\
         + length(pg_sleep(excluded.events * {each_s})::text)\n\"\"\"\n\n\
         [projection.ddl]\npostgres = [\"one_row.sql\"]\n"
    );
    let file = dir.join("one_row.toml");
    for (file, text) in [(&dir.join("one_row.sql"), DDL), (&file, text.as_str())] {
        fs::write(file, text).with_context(|| file.display().to_string())?;
    }
    Ok(file)
}
