//! The layers: defaults, files, environment, flags; the later wins, and every one is checked.
//!
//! Pure over its inputs apart from reading the files: the environment is passed in. It checks each
//! setting by itself; how they fit together is checked where the [`Config`] is built.

mod files;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::fault::{FAULTS_MAX, printable};
use super::keys::{self, KEYS, Kind, VARIABLE_PREFIX, variable_of};
use super::value::{self, Raw, Value, Wrong};
use super::watch::Files;
use super::{Config, ConfigError, Fault, Loaded, Origin, build, nearest};

/// Variables with our prefix that are read elsewhere.
const VARIABLES_RESERVED: [&str; 2] = ["SHOCK_CONFIG", "SHOCK_LOG"];

/// Where `shock dev` starts from something else than [`KEYS`] says: a first event must not need a
/// schema.
const DEV_DEFAULTS: [(&str, &str); 1] = [("schemas.unknown_type", "accept")];

/// What the user typed, all of it.
#[derive(Clone, Default)]
pub struct Sources {
    /// TOML files, and directories of them (their `*.toml`, then `sources/*.toml`); the later wins.
    pub files: Vec<PathBuf>,
    /// The environment; only `SHOCK_…` and variables that a key names are looked at.
    pub env: Vec<(String, String)>,
    /// `key=value`; the later wins.
    pub flags: Vec<String>,
    /// `embedded` or `kafka` where the command decides it.
    pub backend: Option<&'static str>,
    /// Whether the command line allows to serve without any credential.
    pub insecure: Insecure,
    /// `embedded.data_dir` where the command line names it.
    pub data_dir: Option<PathBuf>,
}

/// Whether anybody may post to `/v1/events`: only ever said on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Insecure {
    /// Nobody without a credential.
    #[default]
    No,
    /// Whoever reaches a loopback address.
    OnLoopback,
    /// Whoever reaches the address.
    Anywhere,
}

impl std::fmt::Debug for Sources {
    /// The environment and the flags may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources")
            .field("files", &self.files)
            .field("backend", &self.backend)
            .field("data_dir", &self.data_dir)
            .finish_non_exhaustive()
    }
}

impl Sources {
    /// A variable's value; set to nothing counts as not set.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        let found = self.env.iter().rev().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }
}

/// What the configuration is for: what has to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `shock dev`: the caller adds the development key afterwards; every type is welcome.
    Dev,
    /// The HTTP side: at least one key or source, with their secrets; no database.
    Ingress,
    /// The applying side and the look-ups: the database. Keys are left out and the sources'
    /// secrets are empty: this process serves no producer.
    Consumer,
    /// A command on the database and the log: as [`Purpose::Consumer`], without the sinks and their secrets.
    Operate,
    /// Only the log's topics: neither keys nor secrets nor a database.
    Topics,
    /// All of it.
    Check,
}

impl Config {
    /// Reads, layers and checks everything; all faults at once.
    pub fn load(sources: &Sources, purpose: Purpose) -> Result<Self, ConfigError> {
        Self::load_with_files(sources, purpose).0.map(|loaded| loaded.config)
    }

    /// The same with what a reload needs. The files are known also where something is wrong, so
    /// that whoever watches them sees it mended.
    pub fn load_with_files(
        sources: &Sources,
        purpose: Purpose,
    ) -> (Result<Loaded, ConfigError>, Files) {
        let mut settings = Settings::gather(sources, purpose);
        let config = build::config(&mut settings, sources, purpose);
        let files = settings.read.clone();
        let in_effect = |path: &String| Some((path.clone(), settings.in_effect(path)?));
        let values = settings.stacks.keys().filter_map(in_effect).collect();
        let loaded = match settings.into_faults() {
            faults if faults.is_empty() => {
                Ok(Loaded { config, settings: values, files: files.clone() })
            }
            faults => Err(ConfigError(faults)),
        };
        (loaded, files)
    }
}

/// A setting as a reload compares it and tells of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct InEffect {
    pub(super) value: Value,
    /// For people; a secret's is not kept.
    pub(super) shown: String,
}

/// One setting of one layer.
#[derive(Debug)]
pub(super) struct Setting {
    /// `None` where it is faulty.
    pub(super) value: Option<Value>,
    /// For people; a secret's is not kept.
    pub(super) shown: String,
    pub(super) origin: Origin,
}

/// All settings of all layers by path, and what is wrong with them.
#[derive(Debug, Default)]
pub(super) struct Settings {
    stacks: BTreeMap<String, Vec<Setting>>,
    tables: BTreeMap<String, Origin>,
    faulty: BTreeSet<String>,
    faults: Vec<Fault>,
    /// What was read, and what it was then.
    pub(super) read: Files,
}

impl Settings {
    /// Reads all layers.
    pub(super) fn gather(sources: &Sources, purpose: Purpose) -> Self {
        let mut settings = Self::default();
        for key in KEYS.iter().filter(|key| !key.default.is_empty()) {
            settings.set(key.path, &untyped(key.default), Origin::Default, None);
        }
        if purpose == Purpose::Dev {
            for (path, text) in DEV_DEFAULTS {
                settings.set(path, &untyped(text), Origin::Default, None);
            }
        }
        settings.files(&sources.files);
        let unknown = settings.environment(&sources.env);
        settings.flags(&sources.flags);
        settings.command(sources);
        settings.unknown_variables(unknown);
        settings
    }

    /// Checks one setting and puts it on top of its stack.
    fn set(&mut self, path: &str, raw: &Raw, origin: Origin, base: Option<&Path>) {
        let Some(key) = keys::find(path) else { return self.unknown(path, raw, origin) };
        let value = match value::read(key, raw, base) {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.fault(origin.clone(), path, wrong);
                None
            }
        };
        let shown = if key.secret { "(secret)".to_owned() } else { raw.shown() };
        self.stacks.entry(path.to_owned()).or_default().push(Setting { value, shown, origin });
    }

    fn unknown(&mut self, path: &str, raw: &Raw, origin: Origin) {
        let is_table = keys::is_table(path);
        if is_table && matches!(raw, Raw::EmptyTable) {
            return;
        }
        if self.faults.len() >= FAULTS_MAX {
            return;
        }
        let wrong = if is_table {
            Wrong { message: "is a table of settings, not a value".to_owned(), hint: None }
        } else {
            Wrong { message: "unknown key".to_owned(), hint: Some(unknown_hint(path)) }
        };
        self.fault(origin, path, wrong);
    }

    /// `SHOCK_…` variables; returns the unknown ones.
    fn environment(&mut self, env: &[(String, String)]) -> Vec<String> {
        let names = self.variables();
        let mut unknown = Vec::new();
        for (name, text) in env.iter().filter(|(name, _)| name.starts_with(VARIABLE_PREFIX)) {
            let origin = Origin::Variable(name.clone());
            if let Some(path) = names.get(name) {
                self.set(path, &untyped(text), origin, None);
            } else if let Some(rest) = name.strip_prefix("SHOCK_KAFKA_PROPERTIES_") {
                // librdkafka's names are lower case with dots.
                let property = rest.to_ascii_lowercase().replace('_', ".");
                self.set(&format!("kafka.properties.{property}"), &untyped(text), origin, None);
            } else if !VARIABLES_RESERVED.contains(&name.as_str()) && !is_service_link(name) {
                unknown.push(name.clone());
            }
        }
        unknown
    }

    /// Every variable and its path: the fixed keys', and those of the sources that files name.
    fn variables(&self) -> BTreeMap<String, String> {
        let fixed = KEYS.iter().filter(|key| !key.is_entry()).map(|key| key.path.to_owned());
        let members = KEYS.iter().filter(|key| key.path.starts_with("source.<name>."));
        let of_sources = members.flat_map(|key| {
            let fill = |name: &str| key.path.replacen("<name>", name, 1);
            self.names("source").iter().map(|name| fill(name)).collect::<Vec<_>>()
        });
        fixed.chain(of_sources).map(|path| (variable_of(&path), path)).collect()
    }

    /// Variables nobody knows, unless a key names them as the place of a secret.
    fn unknown_variables(&mut self, unknown: Vec<String>) {
        let named: BTreeSet<String> = self
            .stacks
            .iter()
            .filter(|(path, _)| {
                let kind = keys::find(path).map(|key| key.kind);
                matches!(kind, Some(Kind::Variable | Kind::Variables))
            })
            .flat_map(|(_, stack)| stack.iter().filter_map(|setting| setting.value.as_ref()))
            .flat_map(|value| match value {
                Value::Text(name) => vec![name.clone()],
                Value::Names(names) => names.clone(),
                _ => Vec::new(),
            })
            .collect();
        let known = self.variables();
        for name in unknown.into_iter().filter(|name| !named.contains(name)) {
            let hint = nearest::text(&name, known.keys().map(String::as_str))
                .map(|near| format!("did you mean `{near}`?"));
            let wrong = Wrong { message: "unknown variable".to_owned(), hint };
            self.fault(Origin::Variable(name), "", wrong);
        }
    }

    fn flags(&mut self, flags: &[String]) {
        for (index, flag) in flags.iter().enumerate() {
            let named = flag.split_once('=').map(|(path, text)| (path.trim(), text));
            match named.filter(|(path, _)| is_path(path)) {
                Some((path, text)) => self.set(path, &untyped(text), Origin::Flag, None),
                // The text is not repeated: it may be a secret.
                None => {
                    let message = format!("number {} does not begin with a key and `=`", index + 1);
                    let hint = Some("write --set key=value".to_owned());
                    self.fault(Origin::Flag, "", Wrong { message, hint });
                }
            }
        }
    }

    fn command(&mut self, sources: &Sources) {
        if let Some(backend) = sources.backend {
            self.set("backend", &untyped(backend), Origin::Command, None);
        }
        if let Some(directory) = &sources.data_dir {
            let setting = Setting {
                value: Some(Value::Path(directory.clone())),
                shown: printable(&directory.display().to_string()),
                origin: Origin::Command,
            };
            self.stacks.entry("embedded.data_dir".to_owned()).or_default().push(setting);
        }
    }

    /// Notes that the setting at a path is wrong in itself.
    pub(super) fn fault(&mut self, place: Origin, path: &str, wrong: Wrong) {
        self.faulty.insert(path.to_owned());
        self.contradiction(place, path, wrong);
    }

    /// Notes that a setting does not fit others. Several relations may come to the same words.
    pub(super) fn contradiction(&mut self, place: Origin, path: &str, wrong: Wrong) {
        let fault = Fault { place, key: path.to_owned(), message: wrong.message, hint: wrong.hint };
        if self.faults.len() < FAULTS_MAX && !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// Whether something is wrong at this path, so that nothing more can be said of its value.
    pub(super) fn is_faulty(&self, path: &str) -> bool {
        self.faulty.contains(path)
    }

    /// The faults in the order of layers, files and lines.
    pub(super) fn into_faults(mut self) -> Vec<Fault> {
        self.faults.sort_by(|a, b| a.place.cmp(&b.place));
        self.faults
    }

    /// The value in effect: the last layer's that is not faulty.
    pub(super) fn value(&self, path: &str) -> Option<&Value> {
        self.stacks.get(path)?.iter().rev().find_map(|setting| setting.value.as_ref())
    }

    /// The same with how it is shown.
    fn in_effect(&self, path: &str) -> Option<InEffect> {
        self.stacks.get(path)?.iter().rev().find_map(|setting| {
            Some(InEffect { value: setting.value.clone()?, shown: setting.shown.clone() })
        })
    }

    /// The layers of a path, the one in effect last.
    pub(super) fn stack(&self, path: &str) -> &[Setting] {
        self.stacks.get(path).map_or(&[], Vec::as_slice)
    }

    /// Where the value in effect comes from; for a table where it stands first.
    pub(super) fn origin(&self, path: &str) -> Origin {
        let of_value = self.stacks.get(path).and_then(|stack| stack.last());
        let of_value = of_value.map(|setting| setting.origin.clone());
        of_value.or_else(|| self.tables.get(path).cloned()).unwrap_or(Origin::Default)
    }

    /// The names below a table of tables: `github` of `source.github`, in their order.
    pub(super) fn names(&self, table: &str) -> Vec<String> {
        let below = |path: &String| {
            let rest = path.strip_prefix(table)?.strip_prefix('.')?;
            rest.split('.').next().map(str::to_owned)
        };
        let names: BTreeSet<_> =
            self.stacks.keys().chain(self.tables.keys()).filter_map(below).collect();
        names.into_iter().collect()
    }

    /// The settings below a table whose members the user names.
    pub(super) fn below(&self, table: &str) -> BTreeMap<String, String> {
        let stacks = self.stacks.keys().filter_map(|path| {
            let name = path.strip_prefix(table)?.strip_prefix('.')?;
            match self.value(path)? {
                Value::Text(text) => Some((name.to_owned(), text.clone())),
                _ => None,
            }
        });
        stacks.collect()
    }

    /// The entries of `[[name]]`, from files by their order, from flags by the number they give.
    pub(super) fn entries(&self, name: &str) -> Vec<String> {
        let number = |path: &String| {
            let rest = path.strip_prefix(name)?.strip_prefix('[')?;
            rest.split_once(']')?.0.parse::<usize>().ok()
        };
        let paths = self.stacks.keys().chain(self.tables.keys());
        let numbers: BTreeSet<_> = paths.filter_map(number).collect();
        numbers.into_iter().map(|number| format!("{name}[{number}]")).collect()
    }
}

fn untyped(text: &str) -> Raw {
    Raw::Untyped(text.to_owned())
}

/// What a key may look like where it is typed without quotes.
fn is_path(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-[]".contains(&b);
    !text.is_empty() && text.bytes().all(allowed)
}

fn unknown_hint(path: &str) -> String {
    let last = path.rsplit('.').next().unwrap_or(path);
    if path.starts_with("source.") && matches!(last, "secret" | "password" | "token") {
        return "a secret never stands in a configuration: use `signature.secret_env` or \
                `signature.secret_file`"
            .to_owned();
    }
    if let Some((
        table @ ("key" | "certificate" | "schema" | "contract" | "projection" | "sink"),
        _,
    )) = path.split_once('.')
    {
        return format!("entries are written with two brackets: `[[{table}]]`");
    }
    match nearest::key(path) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`shock config reference` lists the keys".to_owned(),
    }
}

/// Kubernetes gives every container variables for each service of the namespace; for a service
/// named `shock` or `shock-…` they begin with our prefix, and must not stop the process.
fn is_service_link(name: &str) -> bool {
    let ends = ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT", "_ADDR", "_PROTO", "_TCP", "_UDP"];
    name.contains("_SERVICE_PORT_") || ends.iter().any(|end| name.ends_with(end))
}
