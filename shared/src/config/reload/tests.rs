//! The reloader on real files: what is applied, what is refused, what waits for a restart.

use std::cell::RefCell;
use std::path::PathBuf;

use super::*;

const SOURCE: &str = "[source.s]\nsource = \"/s\"\nid = \"header:x-id\"\ntype = \"pointer:/t\"\n\
                      tenant_default = \"t\"\nsignature.scheme = \"hmac-sha256\"\n\
                      signature.header = \"x-s\"\nsignature.secret_file = \"secret\"\n";

/// Files, a reloader of them, and what it has applied.
struct Bench<'b> {
    directory: tempfile::TempDir,
    registry: Registry,
    applied: &'b RefCell<Vec<Config>>,
}

impl<'b> Bench<'b> {
    fn new(applied: &'b RefCell<Vec<Config>>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let bench = Self { directory, registry: Registry::new(), applied };
        bench.write("secret", "one");
        bench.write("shock.toml", SOURCE);
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("written");
    }

    fn reloader(&self) -> Reloader<impl FnMut(Config) -> Result<(), Refused> + use<'b>> {
        let sources = Sources { files: vec![self.path("shock.toml")], ..Sources::default() };
        let (loaded, _) = Config::load_with_files(&sources, Purpose::Ingress);
        let applied = self.applied;
        let apply = move |config: Config| {
            if config.ingress.sources[0].source == "/refused" {
                return Err(Refused("not this one".to_owned()));
            }
            applied.borrow_mut().push(config);
            Ok(())
        };
        let (started, clock) = (loaded.expect("valid"), Clock::manual(Millis(7)));
        Reloader::new(started, sources, Purpose::Ingress, &self.registry, clock, apply)
    }

    /// Two looks, and then generation, failures, success and settings that wait.
    fn check(
        &self,
        reloader: &mut Reloader<impl FnMut(Config) -> Result<(), Refused>>,
        applied: usize,
        expected: [u64; 4],
    ) {
        reloader.look();
        reloader.look();
        assert_eq!(self.applied.borrow().len(), applied);
        let text = self.registry.text();
        let value = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
            line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        };
        let found = [
            "shock_config_generation",
            "shock_config_reload_failures_total",
            "shock_config_last_reload_success",
            "shock_config_restart_needed",
        ]
        .map(|name| value(name).expect("exported"));
        assert_eq!(found, expected);
    }
}

#[test]
fn a_good_set_is_applied_and_a_bad_one_keeps_the_old() {
    let applied = RefCell::default();
    let bench = Bench::new(&applied);
    let mut reloader = bench.reloader();
    bench.check(&mut reloader, 0, [1, 0, 1, 0]);

    bench.write("secret", "two");
    bench.check(&mut reloader, 1, [2, 0, 1, 0]);
    let secret = |at: usize| {
        let config = &applied.borrow()[at];
        config.ingress.sources[0].signature.as_ref().map(|signature| signature.secrets.clone())
    };
    assert_eq!(secret(0), Some(vec![b"two".to_vec()]));

    bench.write("shock.toml", &SOURCE.replace("x-s", "x s"));
    bench.check(&mut reloader, 1, [2, 1, 0, 0]);
    let error = reloader.status().0.lock().last_error.clone().expect("said");
    assert!(error.contains("shock.toml:7") && error.contains("x s"), "{error}");
    bench.check(&mut reloader, 1, [2, 1, 0, 0]);

    bench.write("shock.toml", &SOURCE.replace("\"/s\"", "\"/refused\""));
    bench.check(&mut reloader, 1, [2, 2, 0, 0]);

    std::fs::remove_file(bench.path("secret")).expect("removed");
    bench.write("shock.toml", SOURCE);
    bench.check(&mut reloader, 1, [2, 3, 0, 0]);
    bench.write("secret", "three");
    bench.check(&mut reloader, 2, [3, 3, 1, 0]);
    assert_eq!(secret(1), Some(vec![b"three".to_vec()]));
    assert_eq!(reloader.status().0.lock().last_error, None);
}

#[test]
fn what_cannot_be_replaced_is_named_until_it_is_put_back() {
    let applied = RefCell::default();
    let bench = Bench::new(&applied);
    let mut reloader = bench.reloader();
    let changed = format!("{SOURCE}[ingress]\nthreads = 3\n[classes]\ncontrol = [\"a\"]\n");
    bench.write("shock.toml", &changed);
    bench.check(&mut reloader, 1, [2, 0, 1, 2]);
    let waiting = reloader.status().0.lock().restart_needed.clone();
    assert_eq!(waiting, ["classes.control", "ingress.threads"]);
    bench.write("shock.toml", SOURCE);
    bench.check(&mut reloader, 2, [3, 0, 1, 0]);
}

#[test]
fn asking_reloads_without_a_change_and_the_loop_ends_with_the_asker() {
    let applied = RefCell::default();
    let bench = Bench::new(&applied);
    let reloader = bench.reloader();
    let (ask, asked) = std::sync::mpsc::channel();
    ask.send(()).expect("it is there");
    drop(ask);
    reloader.run(&asked);
    assert_eq!(applied.borrow().len(), 1);
}

#[test]
fn a_reload_tells_what_changes_and_no_secret() {
    let bench = |text: &str| {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("shock.toml");
        std::fs::write(&file, text).expect("written");
        let sources = Sources { files: vec![file], ..Sources::default() };
        let (loaded, _) = Config::load_with_files(&sources, Purpose::Dev);
        loaded.expect("valid").settings().clone()
    };
    let before = bench("control.kp = 0.5\nmode.webhook_url = \"https://a/T0KEN\"\n");
    let now = bench(
        "control.profile = \"bounded-lag\"\nmode.webhook_url = \"https://b/T0KEN\"\n\
         ingress.threads = 3\n[[contract]]\ntenant = \"acme\"\nceiling_per_s = 2.5\n",
    );
    assert_eq!(
        changes(&before, &now),
        [
            "contract[0].ceiling_per_s: not set → 2.5",
            "contract[0].tenant: not set → acme",
            "control.kp: 0.5 → not set",
            "control.profile: absorb → bounded-lag",
            "mode.webhook_url: changed, a secret",
        ]
    );
    assert!(changes(&now, &now).is_empty());
}
