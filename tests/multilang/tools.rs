//! What the tests need besides squall and interpreters: Storm's published clients, Python packages.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

pub use crate::needs::has;
use crate::needs::missing;

const STORM: &str = "2.8.3";
const PACKAGES: [&str; 3] = ["streamparse==5.0.1", "pystorm==3.1.4", "msgpack"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder with our components beside Storm's own clients, as the `resources` of a topology's jar would be.
pub fn resources() -> Option<PathBuf> {
    static READY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match READY.get_or_init(make_resources) {
        Ok(folder) => Some(folder.clone()),
        Err(why) => {
            missing(why);
            None
        }
    }
}

/// Our components alone.
pub fn fixtures() -> PathBuf {
    root().join("tests/fixtures/multilang")
}

/// The environment in which Python finds Storm's client.
pub fn clients() -> Vec<(String, String)> {
    let folder = root().join("topologies/flux/resources");
    vec![("PYTHONPATH".into(), folder.display().to_string())]
}

fn make_resources() -> Result<PathBuf, String> {
    let folder = root().join("target/multilang").join(STORM);
    let resources = folder.join("resources");
    for language in ["python", "javascript", "ruby"] {
        let jar = folder.join(format!("multilang-{language}-{STORM}.jar"));
        let marker = folder.join(format!("{language}-unpacked"));
        if marker.exists() {
            continue;
        }
        let artifact = format!("-Dartifact=org.apache.storm:multilang-{language}:{STORM}");
        let to = format!("-DoutputDirectory={}", folder.display());
        run(Command::new("mvn").args(["-q", "-B", "dependency:copy", &artifact, &to, "-Dtransitive=false"]))?;
        run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&jar).arg(&folder))?;
        std::fs::write(&marker, "").map_err(|error| error.to_string())?;
    }
    for component in std::fs::read_dir(fixtures()).map_err(|error| error.to_string())? {
        let from = component.map_err(|error| error.to_string())?.path();
        if from.is_dir() {
            continue;
        }
        // By renaming: another run of the tests may be reading it.
        let new = resources.join(format!(".{}.{}", std::process::id(), from.file_name().unwrap().to_string_lossy()));
        std::fs::copy(&from, &new).map_err(|error| error.to_string())?;
        std::fs::rename(&new, resources.join(from.file_name().unwrap())).map_err(|error| error.to_string())?;
    }
    Ok(resources)
}

/// A folder with pystorm and streamparse, to be put into `PYTHONPATH`.
pub fn packages() -> Option<PathBuf> {
    static READY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let install = || {
        let folder = root().join("target/multilang/python-packages");
        let wanted = PACKAGES.join(" ");
        if std::fs::read_to_string(folder.join("installed")).ok().as_ref() != Some(&wanted) {
            run(Command::new("python3").args(["-m", "pip", "install", "-q", "--target"]).arg(&folder).args(PACKAGES))?;
            std::fs::write(folder.join("installed"), wanted).map_err(|error| error.to_string())?;
        }
        Ok(folder)
    };
    match READY.get_or_init(install) {
        Ok(folder) => Some(folder.clone()),
        Err(why) => {
            missing(why);
            None
        }
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    let last = said.trim().lines().next_back().unwrap_or_default();
    if output.status.success() { Ok(()) } else { Err(format!("{command:?} failed: {last}")) }
}
