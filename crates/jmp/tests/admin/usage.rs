//! Bad command lines, missing services, help.

use crate::Bench;

#[test]
fn usage_errors_look_familiar_and_end_with_2() {
    let bench = Bench::new();
    let error = bench.admin("create exporter rig --nointeractive").failed(2);
    assert_eq!(
        error,
        "Usage: jmp admin create exporter [OPTIONS] [NAME]\n\
         Try 'jmp admin create exporter --help' for help.\n\nError: Missing option '-l' / '--label'.\n"
    );
    for (line, message) in [
        ("create client", "Missing required argument 'NAME'."),
        (
            "create client a -l b",
            "Invalid value for '-l' / '--label': Invalid label 'b', should be formatted as 'key=value'",
        ),
        ("get client -o xml", "Invalid value for '-o' / '--output': 'xml' is not one of 'json', 'yaml', 'name'."),
        ("get client --foo", "No such option '--foo'."),
        ("get client a b", "Got unexpected extra argument (b)"),
        ("get fish", "No such command 'fish'."),
        ("delete client a -o json", "Invalid value for '-o' / '--output': 'json' is not one of 'name'."),
        ("get client --kubeconfig nowhere", "Invalid value for '--kubeconfig': Path 'nowhere' does not exist."),
        (
            "get client --data-dir . --context x",
            "only one of --data-dir and --kubeconfig, --context should be specified",
        ),
        (
            "get client -n Bad_Name",
            "namespace `Bad_Name` is malformed: use lower-case letters, digits and `-`, with a letter or digit at both ends",
        ),
        ("get client -o", "Option '-o' / '--output' requires an argument."),
        ("import client", "Missing argument 'NAME'."),
        ("create policy p", "Missing option '--clients'."),
    ] {
        let error = bench.admin(line).failed(2);
        assert!(error.ends_with(&format!("\n\nError: {message}\n")), "{line}: {error}");
        assert!(error.starts_with("Usage: jmp admin "), "{line}: {error}");
    }
}

#[test]
fn the_usage_line_of_a_group() {
    let error = Bench::new().admin("get fish").failed(2);
    assert!(
        error.starts_with("Usage: jmp admin get [OPTIONS] COMMAND [ARGS]...\nTry 'jmp admin get --help'"),
        "{error}"
    );
}

#[test]
fn groups_without_a_command_print_their_help() {
    let bench = Bench::new();
    for words in [&["admin"][..], &["admin", "create"], &[]] {
        let done = bench.run(words, None, "");
        assert_eq!(done.stdout, "");
        let help = done.failed(2);
        assert!(help.contains("Usage: jmp") && help.contains("Commands:"), "{help}");
    }
    let done = bench.run(&["admin", "create", "client", "--help"], None, "");
    assert_eq!(done.stderr, "");
    assert!(done.ok().contains("--oidc-username"));
}

#[test]
fn names_that_could_not_be() {
    let bench = Bench::new();
    let error = bench.admin("create client Not_A_Name --nointeractive").failed(1);
    assert!(error.starts_with("Error: client `Not_A_Name` is malformed"), "{error}");
}

#[test]
fn a_service_that_is_not_there() {
    let bench = Bench::new();
    let empty = tempfile::tempdir().unwrap();
    let directory = empty.path().display().to_string();
    let error = bench.run(&["admin", "get", "client", "--data-dir", &directory], None, "").failed(1);
    assert!(error.contains("No service is running on the data directory"), "{error}");
    assert!(error.contains(&format!("jumpstarter serve --data-dir {directory}")), "{error}");
    let nowhere = format!("{directory}/nowhere");
    let error = bench.run(&["admin", "get", "client", "--data-dir", &nowhere], None, "").failed(1);
    assert!(error.contains("does not exist"), "{error}");
    // Somebody listened once.
    drop(std::os::unix::net::UnixListener::bind(empty.path().join("admin.sock")).unwrap());
    let error = bench.run(&["admin", "get", "client", "--data-dir", &directory], None, "").failed(1);
    assert!(error.contains("No service is running"), "{error}");
    // Neither a directory nor a cluster.
    let error = bench.run(&["admin", "get", "client"], None, "").failed(1);
    assert!(error.contains("--data-dir or JUMPSTARTER_DATA_DIR"), "{error}");
}

#[test]
fn the_version() {
    let bench = Bench::new();
    let version = env!("CARGO_PKG_VERSION");
    for words in [&["version"][..], &["v"], &["admin", "ver"]] {
        assert!(bench.run(words, None, "").ok().starts_with(&format!("Jumpstarter v{version} from ")));
    }
    let json = bench.run(&["version", "-o", "json"], None, "").ok();
    assert_eq!(json, format!("{{\n    \"gitVersion\": \"{version}\",\n    \"pythonVersion\": \"none\"\n}}\n"));
}
