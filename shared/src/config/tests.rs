//! The loader as a whole: planted mistakes, layers, secrets, the files that ship, and any text.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::clock::Millis;

mod control;

const SECRET: &str = "hunter2-hunter2";
const DIGEST: &str = "f52fbd32b2b3b86ff88ef6c490628285f482af15ddcb29541f94bcf526a3f6c7";

/// A directory with one file in it.
fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("shock.toml");
    std::fs::write(&file, text).expect("written");
    (directory, file)
}

fn sources(file: &Path) -> Sources {
    Sources { files: vec![file.to_owned()], ..Sources::default() }
}

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn flags(flags: &[&str]) -> Vec<String> {
    flags.iter().map(|flag| (*flag).to_owned()).collect()
}

/// What the comment at the end of a line of tests/mistakes.toml plants: the parts of each fault.
fn planted(line: &str) -> Vec<Vec<&str>> {
    let faults = line.split_once(" # ! ").map(|(_, faults)| faults);
    let faults = faults.into_iter().flat_map(|faults| faults.split(" && "));
    faults.map(|parts| parts.split('|').map(str::trim).collect()).collect()
}

/// What a file that cannot be read says, nobody knows: no fault is made up about it.
#[test]
fn an_unreadable_file_is_the_only_fault() {
    let (directory, file) = written("a = [1,\nb");
    for path in [file, directory.path().join("absent.toml")] {
        let error = Config::load(&sources(&path), Purpose::Check).expect_err("unreadable");
        let places: Vec<_> = error.0.iter().map(|fault| fault.place.to_string()).collect();
        assert_eq!(places.len(), 1, "{error}");
        assert!(places[0].starts_with(&path.display().to_string()), "{error}");
    }
}

#[test]
fn planted_mistakes_are_all_found_at_their_lines() {
    let text = include_str!("tests/mistakes.toml");
    let (_directory, file) = written(text);
    let error = Config::load(&sources(&file), Purpose::Check).expect_err("it is full of mistakes");
    let mut wrong = Vec::new();
    let mut expected = 0;
    for (index, line) in text.lines().enumerate() {
        let place = Origin::File(file.clone(), index + 1);
        let here = error.0.iter().filter(|fault| fault.place == place);
        let here: Vec<_> = here.map(ToString::to_string).collect();
        let planted = planted(line);
        let found = |parts: &Vec<&str>| {
            here.iter().any(|fault| parts.iter().all(|part| fault.contains(part)))
        };
        expected += planted.len();
        if here.len() != planted.len() || !planted.iter().all(found) {
            wrong.push((index + 1, planted, here));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(error.0.len(), expected, "a fault without a line: {error}");
    assert!(expected >= 45, "{expected}");
    assert!(error.0.iter().map(|fault| &fault.place).is_sorted());
}

/// Contradictions: settings that are right by themselves.
#[test]
fn contradictions_name_both_sides() {
    let check = |settings: &[&str], expected: &[&str]| {
        let mut all = vec!["kafka.brokers=localhost:9092", "kafka.durability=single"];
        all.extend(settings);
        let sources = Sources { flags: flags(&all), backend: Some("kafka"), ..Sources::default() };
        let shown = match Config::load(&sources, Purpose::Topics) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        assert_eq!(shown.lines().count(), expected.len(), "{settings:?}: {shown}");
        for part in expected {
            assert!(shown.contains(part), "{settings:?}: {shown}");
        }
    };
    check(&[], &[]);
    check(
        &["ingress.request_timeout_ms=9000"],
        &["--set: ingress.request_timeout_ms: 9000 has to be more than 9000"],
    );
    check(&["ingress.request_timeout_ms=9001"], &[]);
    check(&["ingress.inflated_bytes_max=1000000"], &["`ingress.body_bytes_max`, which is 1048576"]);
    check(
        &["ingress.inflight_bytes_max=1048576"],
        &["`ingress.inflated_bytes_max`, which is 20971520"],
    );
    check(
        &["ingress.event_bytes_max=983617"],
        &["--set: topics.message_bytes_max: 1000000 has to be at least 1000001"],
    );
    check(
        &["topics.telemetry.message_bytes_max=999999"],
        &["topics.telemetry.message_bytes_max: 999999 has to be at least 1000000"],
    );
    check(
        &["consumer.batch_bytes_max=500000"],
        &["consumer.batch_bytes_max: 500000 has to be at least `ingress.event_bytes_max`"],
    );
    check(
        &["topics.retention_ms=88199999"],
        &["topics.retention_ms: 88199999 has to be at least 88200000"],
    );
    check(&["topics.retention_ms=88200000"], &[]);
    check(
        &["consumer.dedupe_window_s=604800"],
        &["--set: topics.retention_ms: 604800000 has to be at least 606600000"],
    );
    check(&["topics.replication=1"], &["topics.min_insync_replicas: 2 is more than"]);
    check(&["topics.replication=1", "topics.min_insync_replicas=1"], &[]);
    check(
        &["kafka.durability=replicated", "topics.control.replication=2"],
        &["topics.control.replication: 2 has to be at least 3"],
    );
    check(
        &["kafka.durability=replicated", "topics.min_insync_replicas=1"],
        &["topics.min_insync_replicas: 1 has to be at least 2"],
    );
    check(
        &["consumer.retry_backoff_ms_min=20000"],
        &["`consumer.retry_backoff_ms_min`, which is 20000"],
    );
    check(
        &["classes.control=a.*,b", "classes.telemetry=a.*"],
        &["classes.telemetry: `a.*` is already of class control"],
    );
    check(
        &["kafka.properties.enable.idempotence=false"],
        &["kafka.properties.enable.idempotence: is set by this program"],
    );
    check(&["kafka.properties.session.timeout.ms=6000"], &[]);
    check(
        &["kafka.properties.session.timeout.ms=6000", "kafka.group_protocol=consumer"],
        &["kafka.properties.session.timeout.ms: is the brokers' to say"],
    );
}

#[test]
fn the_later_layer_wins() {
    let (_directory, file) = written("[ingress]\nlisten = \"127.0.0.1:1\"\nthreads = 1\n");
    let (_other, second) = written("[ingress]\nthreads = 2\njson_depth_max = 2\n");
    let sources = Sources {
        files: vec![file, second.clone()],
        env: env(&[("SHOCK_INGRESS_THREADS", "3"), ("SHOCK_INGRESS_JSON_MEMBERS_MAX", "3")]),
        flags: flags(&["ingress.threads=4", "ingress.threads=5"]),
        ..Sources::default()
    };
    let config = Config::load(&sources, Purpose::Dev).expect("valid");
    let ingress = &config.ingress;
    assert_eq!(ingress.listen.port(), 1);
    assert_eq!(ingress.threads, 5);
    assert_eq!((ingress.json_depth_max, ingress.json_members_max), (2, 3));
    assert_eq!(ingress.batch_events_max, 1_000);

    let explained = explain(&sources, "ingress.threads").expect("valid");
    let origins: Vec<_> = explained.layers.iter().map(|(_, origin)| origin.clone()).collect();
    assert_eq!(explained.layers.last().map(|(value, _)| value.as_str()), Some("5"));
    assert_eq!(origins[0], Origin::Default);
    assert_eq!(origins[2], Origin::File(second, 2));
    assert_eq!(origins[3], Origin::Variable("SHOCK_INGRESS_THREADS".to_owned()));
    assert!(explain(&sources, "ingress.thread").is_err());
    assert!(explained.faults.is_none());
}

#[test]
fn what_the_command_decides_wins() {
    let sources = Sources {
        flags: flags(&["backend=kafka", "embedded.data_dir=a"]),
        backend: Some("embedded"),
        data_dir: Some(PathBuf::from("b")),
        ..Sources::default()
    };
    let config = Config::load(&sources, Purpose::Dev).expect("valid");
    let Backend::Embedded(embedded) = config.backend else { panic!("embedded") };
    assert_eq!(embedded.data_dir, PathBuf::from("b"));
    assert_eq!(config.ingress.schemas.unknown_type, UnknownType::Accept);
}

#[test]
fn paths_in_a_file_are_relative_to_it() {
    let (directory, file) = written("[embedded]\ndata_dir = \"data\"\n");
    let config = Config::load(&sources(&file), Purpose::Dev).expect("valid");
    let Backend::Embedded(embedded) = config.backend else { panic!("embedded") };
    assert_eq!(embedded.data_dir, directory.path().join("data"));
}

#[test]
fn a_directory_stands_for_its_files_and_sources() {
    let (directory, _file) = written("[ingress]\nthreads = 7\n");
    let below = directory.path().join("sources");
    std::fs::create_dir(&below).expect("made");
    let source = "[source.s]\nsource = \"/s\"\nid = \"header:x-id\"\ntype = \"pointer:/t\"\n\
                  tenant_default = \"t\"\nsignature = \"none\"\n";
    std::fs::write(below.join("s.toml"), source).expect("written");
    let config = Config::load(&sources(directory.path()), Purpose::Ingress).expect("valid");
    assert_eq!((config.ingress.threads, config.ingress.sources.len()), (7, 1));
}

#[test]
fn entries_of_several_files_add_up() {
    let key = |id: &str| {
        format!("[[key]]\nid = \"{id}\"\ntenant = \"t\"\nsecret_sha256 = \"{DIGEST}\"\n")
    };
    let (_a, first) = written(&format!("{}{}", key("a"), key("b")));
    let (_b, second) = written(&key("c"));
    let (_c, clash) = written(&key("b"));
    let mut sources = Sources { files: vec![first, second], ..Sources::default() };
    let config = Config::load(&sources, Purpose::Ingress).expect("valid");
    let ids: Vec<_> = config.ingress.keys.iter().map(|key| key.id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "c"]);
    assert!(Config::load(&sources, Purpose::Consumer).expect("valid").ingress.keys.is_empty());

    sources.files.push(clash.clone());
    let error = Config::load(&sources, Purpose::Ingress).expect_err("`b` twice");
    assert_eq!(error.0[0].place, Origin::File(clash, 2));
}

#[test]
fn unknown_variables_are_refused_with_the_nearest() {
    let sources = Sources {
        env: env(&[
            ("SHOCK_INGRESS_LISTN", "x"),
            ("SHOCK_PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("SHOCK_INGRESS_SERVICE_HOST", "10.0.0.1"),
            ("HOME", "/root"),
        ]),
        flags: flags(&["embedded.partitions", "postgres://u:p@h/?a=b", "a.b=c"]),
        ..Sources::default()
    };
    let error = Config::load(&sources, Purpose::Dev).expect_err("unknown").to_string();
    let expected = "SHOCK_INGRESS_LISTN: unknown variable; did you mean `SHOCK_INGRESS_LISTEN`?\n\
        --set: number 1 does not begin with a key and `=`; write --set key=value\n\
        --set: number 2 does not begin with a key and `=`; write --set key=value\n\
        --set: a.b: unknown key; `shock config reference` lists the keys";
    assert_eq!(error, expected);
}

#[test]
fn what_a_purpose_needs() {
    let check = |purpose, backend, missing: &[&str]| {
        let sources = Sources { backend: Some(backend), ..Sources::default() };
        let keys = match Config::load(&sources, purpose) {
            Ok(_) => Vec::new(),
            Err(error) => error.0.into_iter().map(|fault| fault.key).collect(),
        };
        assert_eq!(keys, missing, "{purpose:?} {backend}");
    };
    check(Purpose::Dev, "embedded", &[]);
    check(Purpose::Consumer, "embedded", &[]);
    check(Purpose::Ingress, "embedded", &["key"]);
    check(Purpose::Check, "kafka", &["key", "kafka.brokers", "postgres.url"]);
    check(Purpose::Ingress, "kafka", &["key", "kafka.brokers"]);
    check(Purpose::Consumer, "kafka", &["kafka.brokers", "postgres.url"]);
    check(Purpose::Topics, "kafka", &["kafka.brokers"]);
}

#[test]
fn serving_without_credentials_has_to_be_meant() {
    let key = format!("[[key]]\nid = \"a\"\ntenant = \"t\"\nsecret_sha256 = \"{DIGEST}\"\n");
    let check = |insecure, text: &str, listen: &str, expected: Result<bool, &str>| {
        let (_directory, file) = written(text);
        let flags = flags(&[&format!("ingress.listen={listen}")]);
        let sources = Sources { insecure, flags, ..sources(&file) };
        let found = Config::load(&sources, Purpose::Ingress).map(|config| config.ingress.insecure);
        match (found, expected) {
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (found, expected) => assert_eq!(found.ok(), expected.ok(), "{insecure:?} {listen}"),
        }
    };
    let (near, far) = ("127.0.0.1:8080", "0.0.0.0:8080");
    check(Insecure::No, "", near, Err("nobody could post"));
    check(Insecure::No, &key, far, Ok(false));
    check(Insecure::OnLoopback, "", near, Ok(true));
    check(Insecure::OnLoopback, "", "[::1]:8080", Ok(true));
    check(Insecure::OnLoopback, "", far, Err("say `--insecure` twice"));
    check(Insecure::Anywhere, "", far, Ok(true));
    check(Insecure::Anywhere, &key, far, Err("leave one of them out"));
}

#[test]
fn a_key_ends_at_its_time_and_may_be_disabled() {
    let load = |member: &str| {
        let key = format!("[[key]]\nid = \"a\"\ntenant = \"t\"\nsecret_sha256 = \"{DIGEST}\"\n");
        let (_directory, file) = written(&format!("{key}{member}\n"));
        Config::load(&sources(&file), Purpose::Ingress)
    };
    let config =
        load("not_after = \"2027-01-31T13:00:00+01:00\"\nstate = \"disabled\"").expect("good");
    let key = &config.ingress.keys[0];
    assert_eq!((key.state, key.not_after), (KeyState::Disabled, Some(Millis(1_801_396_800_000))));
    let shown = "writes for t; disabled; not after 2027-01-31T12:00:00Z";
    assert!(config.summary().contains(shown), "{}", config.summary());
    let config = load("state = \"active\"").expect("good");
    let key = &config.ingress.keys[0];
    assert_eq!((key.state, key.not_after), (KeyState::Active, None));
    for (wrong, part) in [
        ("not_after = \"2027-01-31\"", "5: key[0].not_after: `2027-01-31` is not a date and time"),
        ("not_after = \"2027-01-31T13:00:00\"", "is not a date and time"),
        ("not_after = 2027-01-31T13:00:00Z", "a text is needed, this is a date"),
        ("state = \"off\"", "`off` is not one of active, disabled"),
    ] {
        let error = load(wrong).expect_err(wrong).to_string();
        assert!(error.contains(part), "{error}");
    }
}

/// TLS without an authority of clients asks for no certificate, as no TLS does.
#[test]
fn certificates_need_a_handshake_that_asks_for_them() {
    let table = "[[certificate]]\nsan = \"a.example\"\ntenant = \"t\"\n";
    let check = |files: &[&str], expected: bool| {
        let (directory, file) = written(table);
        let pem = directory.path().join("any.pem");
        std::fs::write(&pem, "").expect("written");
        let given = |name: &&str| format!("ingress.tls.{name}={}", pem.display());
        let given: Vec<_> = files.iter().map(given).collect();
        let given: Vec<_> = given.iter().map(String::as_str).collect();
        let sources = Sources { flags: flags(&given), ..sources(&file) };
        let shown = match Config::load(&sources, Purpose::Ingress) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        let fault = "certificate[0].san: no client shows a certificate without \
                     `ingress.tls.client_ca_file`";
        assert_eq!((shown.is_empty(), shown.contains(fault)), (expected, !expected), "{shown}");
    };
    check(&[], false);
    check(&["cert_file", "key_file"], false);
    check(&["cert_file", "key_file", "client_ca_file"], true);
}

#[test]
fn secrets_of_a_source_are_a_list() {
    let (directory, file) = written(
        "[source.s]\nsource = \"/s\"\nid = \"header:webhook-id\"\ntype = \"pointer:/t\"\n\
         tenant_default = \"t\"\nsignature.scheme = \"standard-webhooks\"\n\
         signature.secret_file = [\"new\", \"old\"]\n",
    );
    let write = |name: &str, text: &str| {
        std::fs::write(directory.path().join(name), text).expect("written");
    };
    write("new", "whsec_AQID\n");
    write("old", "BAUG");
    let sources = sources(&file);
    let config = Config::load(&sources, Purpose::Ingress).expect("valid");
    let signature = config.ingress.sources[0].signature.clone().expect("signed");
    assert_eq!(signature.secrets, [[1, 2, 3], [4, 5, 6]]);
    write("old", "no Base64");
    let error = Config::load(&sources, Purpose::Ingress).expect_err("not Base64").to_string();
    assert!(error.contains("shock.toml:7") && !error.contains("no Base64"), "{error}");
    let flags = flags(&["consumer.dedupe_window_s=60"]);
    write("old", "BAUG");
    let error = Config::load(&Sources { flags, ..sources }, Purpose::Ingress).expect_err("short");
    assert!(error.to_string().contains("`consumer.dedupe_window_s`, which is 60"), "{error}");
}

/// The sources of a configuration with a secret in every place that may hold one.
fn with_secrets() -> Sources {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
    let url = format!("postgres://shock:{SECRET}@localhost/shock");
    Sources {
        files: vec![shipped],
        env: env(&[
            ("ACME_KEY_SHA256", DIGEST),
            ("GITHUB_WEBHOOK_SECRET", SECRET),
            ("SHOCK_POSTGRES_URL", &url),
            ("SHOCK_KAFKA_PROPERTIES_SASL_PASSWORD", SECRET),
        ]),
        ..Sources::default()
    }
}

#[test]
fn the_shipped_files_load_and_keep_their_secrets() {
    let mut sources = with_secrets();
    let config = Config::load(&sources, Purpose::Check).expect("the shipped files are valid");
    let github = &config.ingress.sources[0];
    assert_eq!(github.id, Extract::Header("x-github-delivery".to_owned()));
    assert_eq!(github.signature.as_ref().expect("signed").secrets, [SECRET.as_bytes()]);
    assert!(github.schema.is_none());
    let Backend::Cluster { kafka, .. } = &config.backend else { panic!("kafka") };
    assert_eq!(kafka.properties["sasl.password"], SECRET);
    assert_eq!(config.router.partitions(crate::position::Class::Control), 12);
    let summary = config.summary();
    for part in ["metrics.*", "events.telemetry", "acme-1", "/v1/sources/github"] {
        assert!(summary.contains(part), "{summary}");
    }

    let mut shown = format!("{config:?}{sources:?}{summary}");
    for key in ["postgres.url", "kafka.properties.sasl.password"] {
        let explained = explain(&sources, key).expect("valid");
        shown += &format!("{explained}{explained:?}");
    }
    // Secrets where they do not belong are refused without being repeated.
    sources.flags = flags(&[
        &format!("source.github.signature.secret={SECRET}"),
        &format!("postgres.url={SECRET}"),
        &format!("key[0].secret_sha256={SECRET}"),
        SECRET,
    ]);
    let error = Config::load(&sources, Purpose::Check).expect_err("four mistakes");
    assert!(error.0.len() >= 4, "{error}");
    shown += &format!("{error}{error:?}");
    assert!(!shown.contains(SECRET) && !shown.contains(DIGEST), "{shown}");
}

#[test]
fn a_schema_reaches_the_shipped_source_by_flag_and_by_variable() {
    let (_directory, schema) = written("{}");
    let path = schema.display().to_string();
    let mut sources = with_secrets();
    sources.flags = flags(&[&format!("source.github.schema.file={path}")]);
    let by_flag = Config::load(&sources, Purpose::Check).expect("valid");
    sources.flags.clear();
    sources.env.extend(env(&[("SHOCK_SOURCE_GITHUB_SCHEMA_FILE", &path)]));
    let by_variable = Config::load(&sources, Purpose::Check).expect("valid");
    for config in [by_flag, by_variable] {
        let schema = config.ingress.sources[0].schema.as_ref().expect("set");
        assert_eq!(schema.pointers, ["#/definitions/{type}_event", "#/definitions/{type}$event"]);
        assert_eq!((&schema.file, schema.mode), (&PathBuf::from(&path), SchemaMode::Enforce));
    }
}

#[test]
fn the_reference_lists_every_key() {
    let page = reference_markdown();
    assert_eq!(page.lines().filter(|line| line.starts_with("| `")).count(), KEYS.len());
    assert!(page.contains("`SHOCK_INGRESS_LISTEN`") && page.contains("`[[key]]`"));
    assert_eq!(page, reference_markdown());
}

/// Fragments that are close to a configuration, so that the walk gets deep.
fn fragment() -> impl Strategy<Value = String> {
    let near = prop::sample::select(vec![
        "[ingress]",
        "[[key]]",
        "[source.github]",
        "[source.github.signature]",
        "listen",
        "key",
        "id",
        "tenant",
        " = ",
        "\"a\"",
        "\"header:x\"",
        "[",
        "]",
        "{",
        "}",
        ",",
        ".",
        "\n",
        "\"\"\"",
        "1",
        "-9223372036854775808",
        "1.5",
        "true",
        "#",
        "'",
        "\\u00e9",
        "é",
        "\0",
        "source",
        "signature",
        "classes",
        "control",
        "kafka.properties",
        "[topics.control]",
        "partitions",
        "__given_again_0",
        "1979-05-27",
        "\r\n",
        "key[0]",
    ]);
    prop_oneof![4 => near.prop_map(str::to_owned), 1 => ".{0,8}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_panics_the_loader(parts in prop::collection::vec(fragment(), 0..60)) {
        let text: String = parts.concat();
        let (_directory, file) = written(&text);
        let mut sources = sources(&file);
        sources.flags = parts.iter().take(3).cloned().collect();
        sources.env = vec![("SHOCK_X".to_owned(), text)];
        // The unknown variable is refused in any case.
        prop_assert!(Config::load(&sources, Purpose::Check).is_err());
    }

    #[test]
    fn no_value_panics_any_key(index in 0..KEYS.len(), value in fragment()) {
        let path = KEYS[index].path.replace("[]", "[0]").replace(['<', '>'], "");
        let sources = Sources { flags: vec![format!("{path}={value}")], ..Sources::default() };
        let _ = Config::load(&sources, Purpose::Check);
    }
}
