//! The files in `rules/`: each holds what `ftp-alg rules` prints, and loads.
//!
//! `UPDATE_RULES=1 cargo test --test rules` writes the printed part of each file anew. Loading
//! needs root: `cargo test --test rules -- --ignored`.

use std::{fs, path::PathBuf, process::Command};

use ftp_alg::{
    proto::net::Layer,
    ruleset::{Backend, Params, Ruleset, nft_removal, to_iptables, to_iptables_removal},
};

/// Where the operator's part of a file ends.
const SEPARATOR: &str = "# ---- From here on: what `ftp-alg rules` prints. ----\n";

/// The files, and the control ports of the configuration in their heads.
const FILES: [(&str, &[u16]); 9] = [
    ("intranet-clients.nft", &[21]),
    ("intranet-server.nft", &[21]),
    ("routing-firewall.nft", &[21]),
    ("other-ports.nft", &[5021, 8021]),
    ("ip.sh", &[21, 2121]),
    ("related/intranet-clients.nft", &[21]),
    ("related/intranet-server.nft", &[21]),
    ("related/routing-firewall.nft", &[21]),
    ("related/other-ports.nft", &[5021, 8021]),
];

/// The files in this directory are for the kernel's expectations.
const RELATED: &str = "related/";

fn backend(file: &str) -> Backend {
    if file.starts_with(RELATED) {
        Backend::Conntrack
    } else {
        Backend::Nftables
    }
}

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("rules")
        .join(file)
}

fn read(file: &str) -> String {
    fs::read_to_string(path(file)).unwrap()
}

fn printed(file: &str, ports: &[u16]) -> String {
    let params = Params {
        control_ports: ports.to_vec(),
        backend: backend(file),
        ..Params::default()
    };
    if file.ends_with(".sh") {
        to_iptables(&params)
    } else {
        Ruleset::build(&params).to_nft()
    }
}

#[test]
fn each_file_ends_with_what_is_printed_for_its_configuration() {
    for (file, ports) in FILES {
        let text = read(file);
        let (own, ours) = text.split_once(SEPARATOR).unwrap_or((&text, ""));
        let printed = printed(file, ports);
        if std::env::var_os("UPDATE_RULES").is_some() {
            fs::write(path(file), format!("{own}{SEPARATOR}{printed}")).unwrap();
        } else {
            assert!(
                ours == printed,
                "rules/{file} is stale: UPDATE_RULES=1 cargo test --test rules"
            );
        }
        let ports = format!("#     control_ports = {ports:?}\n");
        assert!(own.contains(&ports), "rules/{file} lacks the line {ports}");
    }
}

#[test]
fn no_file_of_ours_is_forgotten() {
    let known = |name: &str| FILES.iter().any(|(file, _)| *file == name);
    for directory in ["", RELATED] {
        for entry in fs::read_dir(path(directory)).unwrap() {
            let name = format!("{directory}{}", entry.unwrap().file_name().display());
            if !["README.md", RELATED.trim_end_matches('/')].contains(&&*name) {
                assert!(known(&name), "rules/{name} is in no test");
                assert!(
                    read("README.md").contains(name.trim_start_matches(RELATED)),
                    "{name} is not listed"
                );
            }
        }
    }
}

#[test]
fn each_file_accepts_expected_data_connections() {
    for (file, _) in FILES {
        let (text, mark) = (read(file), Params::default().marks.data);
        let accept = if file.ends_with(".sh") {
            format!("--mark {mark:#x}/{mark:#x} -j ACCEPT")
        } else if backend(file) == Backend::Conntrack {
            "ct state established,related accept".to_owned()
        } else {
            format!("ct mark & {mark:#x} != 0 accept")
        };
        assert!(text.contains(&accept), "rules/{file} lacks: {accept}");
    }
}

/// Runs a shell line in a network namespace that ends with it.
fn in_namespace(line: &str) -> String {
    let output = Command::new("unshare")
        .args(["-n", "sh", "-ec", line])
        .output()
        .unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{line}\n{complaints}\nthis test needs root, nft, iptables"
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A kernel without nft's `queue` cannot load the statement; everything else it can.
fn loadable(file: &str) -> String {
    let native = Command::new("unshare")
        .args([
            "-n",
            "sh",
            "-c",
            "nft add table inet x && nft add chain inet x c && nft add rule inet x c queue to 0",
        ])
        .output()
        .unwrap();
    let text = read(file);
    if native.status.success() || file.ends_with(".sh") {
        return text;
    }
    eprintln!("this kernel has no nft queue statement: rules/{file} is loaded without");
    let cut = |line: &str| match line.split_once("queue ") {
        Some((before, _)) if !line.trim_start().starts_with('#') => format!("{before}accept\n"),
        Some(_) | None => format!("{line}\n"),
    };
    text.lines().map(cut).collect()
}

#[test]
fn files_for_expectations_differ_from_the_others_in_the_mark_alone() {
    let rules = |file: &str| -> Vec<String> {
        let text = read(file);
        let own = text.split(SEPARATOR).next().unwrap_or_default().lines();
        own.map(str::trim)
            .filter(|line| !line.starts_with('#') && !line.starts_with("ct mark"))
            .map(str::to_owned)
            .collect()
    };
    for (file, _) in FILES.iter().filter(|(file, _)| file.starts_with(RELATED)) {
        assert_eq!(rules(file), rules(&file[RELATED.len()..]), "rules/{file}");
        assert!(!read(file).contains("0x10000000"), "rules/{file}");
    }
}

/// Those of `related/` attach a helper that only a running daemon registers. So the lab loads them
/// in its virtual machine.
#[test]
#[ignore = "needs root"]
fn each_nft_file_loads_twice_and_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let by_themselves = |file: &str| file.ends_with(".nft") && backend(file) == Backend::Nftables;
    for (file, _) in FILES.iter().filter(|(file, _)| by_themselves(file)) {
        let copy = directory.path().join(file);
        fs::write(&copy, loadable(file)).unwrap();
        let copy = copy.display();
        let tables = in_namespace(&format!(
            "nft -c -f {copy}; nft -f {copy}; nft -f {copy}; nft list tables;
             printf '{}' | nft -f -; nft list tables",
            nft_removal(Layer::Routed).escape_default()
        ));
        let loaded = "table inet firewall\ntable inet ftp_alg\n";
        assert_eq!(tables, format!("{loaded}table inet firewall\n"), "{file}");
    }
}

#[test]
#[ignore = "needs root"]
fn the_iptables_script_runs_twice_and_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let removal = directory.path().join("remove.sh");
    let params = Params {
        control_ports: vec![21, 2121],
        ..Params::default()
    };
    fs::write(&removal, to_iptables_removal(&params)).unwrap();
    let (script, removal) = (path("ip.sh"), removal.display());
    let state = in_namespace(&format!(
        "cd {1}; sh {0}; iptables-save >$$.1; sh {0}; iptables-save >$$.2
         grep -v '^[#:]' $$.1 >$$.3; grep -v '^[#:]' $$.2 | diff $$.3 -; rm $$.?
         echo loaded; iptables-save | grep -c NFQUEUE; ip6tables-save | grep -c NFQUEUE
         nft list table inet ftp_alg | grep -c 'set expect'
         sh {removal}; (iptables-save; ip6tables-save) | grep FTP_ALG || echo none
         nft list table inet ftp_alg 2>/dev/null || echo none",
        script.display(),
        directory.path().display()
    ));
    assert_eq!(state, "loaded\n33\n33\n2\nnone\nnone\n");
}
