//! The `ftp-alg` program: hands the command line to [`ftp_alg::cli`].

fn main() -> std::process::ExitCode {
    ftp_alg::cli::main()
}
