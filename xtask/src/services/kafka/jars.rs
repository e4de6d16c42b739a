//! Kafka's own jars, from Maven's central repository: a pom in `target/`, and Maven copies them
//! with all they need. Fetched once for a version.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result};

use crate::{command, workspace};

/// The newest that runs on Java 17.
const KAFKA_VERSION: &str = "4.3.1";
/// What Kafka's distribution adds to its jars so that slf4j's words reach a log.
const LOG4J_VERSION: &str = "2.25.3";

/// The directory that holds the jars.
pub fn fetch() -> Result<PathBuf> {
    let dir = workspace::target_dir().join(format!("kafka-{KAFKA_VERSION}"));
    let libs = dir.join("libs");
    if libs.exists() {
        return Ok(libs);
    }
    println!("fetching Apache Kafka {KAFKA_VERSION} with Maven");
    let fresh = dir.join("libs.new");
    fs::create_dir_all(&dir)
        .and_then(|()| fs::write(dir.join("pom.xml"), pom()))
        .with_context(|| format!("could not write below {}", dir.display()))?;
    let mut maven = Command::new("mvn");
    maven.args(["--batch-mode", "--quiet", "dependency:copy-dependencies"]);
    maven.args(["-DincludeScope=runtime", "-DoutputDirectory=libs.new"]).current_dir(&dir);
    command::run(&mut maven)?;
    // Only a complete set gets the final name: a broken download is fetched again.
    fs::rename(&fresh, &libs)
        .with_context(|| format!("could not rename {}", fresh.display()))
        .map(|()| libs)
}

fn pom() -> String {
    let dependency = |group: &str, artifact: &str, version: &str| {
        format!(
            "    <dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
             <version>{version}</version></dependency>\n"
        )
    };
    let dependencies = [
        dependency("org.apache.kafka", "kafka_2.13", KAFKA_VERSION),
        dependency("org.apache.kafka", "kafka-tools", KAFKA_VERSION),
        dependency("org.apache.logging.log4j", "log4j-slf4j-impl", LOG4J_VERSION),
    ];
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n  \
         <modelVersion>4.0.0</modelVersion>\n  <groupId>local</groupId>\n  \
         <artifactId>kafka-runtime</artifactId>\n  <version>1</version>\n  \
         <packaging>pom</packaging>\n  <dependencies>\n{}  </dependencies>\n</project>\n",
        dependencies.concat()
    )
}
