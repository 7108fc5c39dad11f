//! A place to run the binary in: home, data and models in a folder of their own.
#![allow(unreachable_pub, reason = "a module of tests")]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder of its own for home, data and models.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> Self {
        Place(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_headstart"));
        command.args(line.split_whitespace()).current_dir(self.0.path());
        command.env("HEADSTART_HOME", self.path("home")).env_remove("HEADSTART_ISA");
        command
    }

    pub fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    /// The one JSON object of a command that must succeed.
    pub fn json(&self, line: &str) -> Value {
        let output = self.run(line);
        assert_eq!(output.status.code(), Some(0), "{line}: {}", err(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

pub fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

impl Place {
    /// Two classes of eight images each: shades of red and shades of blue.
    pub fn colours(&self) {
        for i in 0..8u8 {
            let shade = 120 + 15 * i;
            self.png(&format!("data/red/{i}.png"), [shade, 20, i]);
            self.png(&format!("data/blue/{i}.png"), [20, i, shade]);
        }
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    pub fn png(&self, name: &str, colour: [u8; 3]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::RgbImage::from_pixel(40, 30, image::Rgb(colour)).save(path).unwrap();
    }
}

pub fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}
