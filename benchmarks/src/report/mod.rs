//! What comes out: Markdown on stdout, and Markdown, JSON and SVG in `<target>/benchmarks/`.

pub(crate) mod chart;
mod docs;
pub(crate) mod markdown;

use std::env;
use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::cli::Options;

/// The findings of a run.
#[derive(Debug)]
pub(crate) struct Report {
    facts: Vec<(&'static str, String)>,
    sections: Vec<Section>,
}

/// The findings of one suite.
#[derive(Debug)]
pub(crate) struct Section {
    /// Its key in the JSON.
    pub(crate) name: &'static str,
    /// Its heading.
    pub(crate) title: &'static str,
    /// Markdown below the heading.
    pub(crate) text: String,
    /// Everything that was measured.
    pub(crate) json: Value,
    /// File names and SVG texts.
    pub(crate) charts: Vec<(String, String)>,
}

impl Report {
    /// A report that knows where it comes from and nothing else yet.
    pub(crate) fn new(facts: Vec<(&'static str, String)>) -> Self {
        Self { facts, sections: Vec::new() }
    }

    /// Adds the findings of a suite.
    pub(crate) fn add(&mut self, section: Section) {
        self.sections.push(section);
    }

    /// Prints the tables and writes all files.
    pub(crate) fn write(&self, options: &Options) -> io::Result<()> {
        let folder = folder()?;
        fs::create_dir_all(&folder)?;
        let markdown = self.markdown(options);
        println!("{markdown}");
        fs::write(folder.join("results.md"), markdown)?;
        for (name, chart) in self.sections.iter().flat_map(|section| &section.charts) {
            fs::write(folder.join(name), chart)?;
        }
        if let Some(folder) = &options.docs {
            docs::update(folder, &self.facts(), &self.sections)?;
        }
        let json = options.json.clone().unwrap_or_else(|| folder.join("results.json"));
        fs::write(&json, format!("{:#}\n", self.json(options)))?;
        progress(format_args!("charts in {}, raw figures in {}", folder.display(), json.display()));
        Ok(())
    }

    fn markdown(&self, options: &Options) -> String {
        let mut text = format!("# anyloop and its peers\n\n{}", self.facts());
        if options.smoke {
            text += "\nA smoke run: it shows that everything works, its figures mean nothing.\n";
        }
        for section in &self.sections {
            text += &format!("\n## {}\n\n{}", section.title, section.text);
        }
        text
    }

    fn facts(&self) -> String {
        self.facts.iter().map(|(name, value)| format!("* {name}: {value}\n")).collect()
    }

    fn json(&self, options: &Options) -> Value {
        let facts = self.facts.iter().map(|(name, value)| ((*name).to_owned(), json!(value)));
        let suites =
            self.sections.iter().map(|section| (section.name.to_owned(), section.json.clone()));
        json!({
            "machine": facts.collect::<Map<_, _>>(),
            "smoke": options.smoke,
            "rounds": options.rounds,
            "suites": suites.collect::<Map<_, _>>(),
        })
    }
}

/// Tells whoever waits what is going on.
pub(crate) fn progress(message: fmt::Arguments<'_>) {
    eprintln!("{message}");
}

/// `<target>/benchmarks`, wherever this program was built.
fn folder() -> io::Result<PathBuf> {
    let target = match env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => {
            let program = env::current_exe()?;
            program.ancestors().nth(2).map(PathBuf::from).unwrap_or_default()
        }
    };
    Ok(target.join("benchmarks"))
}
