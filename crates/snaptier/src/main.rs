//! The command line of snaptier.

mod cli;

fn main() {
    // Not by returning: a thread may be waiting for standard input for ever.
    std::process::exit(cli::main().into());
}
