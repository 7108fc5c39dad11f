//! The `headstart` command: parse, run, exit code.
//!
//! Everything it can do is in the library; here are words, tables and exit codes. Data goes to standard
//! output, talk to standard error, both through [`printer`].

mod args;
mod commands;
mod outcome;
mod printer;
mod progress;
mod table;
mod workplace;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(answer) => return outcome::unparsed(&answer),
    };
    let printer = printer::Printer::new(args.json);
    let result = commands::run(args.command, &printer);
    outcome::exit_code(result, &printer)
}
