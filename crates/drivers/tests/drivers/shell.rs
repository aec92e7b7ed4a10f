//! Commands as methods.
use std::time::Duration;

use futures::TryStreamExt as _;
use jumpstarter_drivers::{Driver, DriverError};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{build, driver, fault};

const SHELL: &str = "jumpstarter_driver_shell.driver.Shell";

/// Output, error output and code of a run.
async fn run(shell: &dyn Driver, args: Vec<Value>) -> Result<(String, String, f64), DriverError> {
    let items: Vec<Value> = shell.stream_call("call_method", args).await?.try_collect().await?;
    let text = |n: usize| items.iter().map(|item| item[n].as_str().unwrap()).collect();
    let (last, before) = items.split_last().unwrap();
    assert!(before.iter().all(|item| item[2].is_null()));
    Ok((text(0), text(1), last[2].as_f64().unwrap()))
}

#[tokio::test]
async fn methods_run_with_arguments_and_variables() {
    let dir = tempfile::tempdir().unwrap();
    let shell = driver(
        SHELL,
        &format!(
            "{{methods: {{both: 'echo \"$0 $1 $FOO\"; echo err >&2; exit 3', where: pwd, none: {{description: d}}, \
              large: 'head -c 3000000 /dev/zero | tr \"\\\\0\" x', dies: 'kill -9 $$', left: 'sleep 5 & echo done'}}, cwd: {}}}",
            dir.path().display()
        ),
    )
    .await;
    let names = shell.call("get_methods", vec![]).await.unwrap();
    assert_eq!(names, json!(["both", "where", "none", "large", "dies", "left"]));
    let (out, err, code) = run(&*shell, vec![json!("both"), json!({"FOO": "bar"}), json!("a b")]).await.unwrap();
    assert_eq!((out.as_str(), err.as_str(), code), ("both a b bar\n", "err\n", 3.0));
    let (out, _, code) = run(&*shell, vec![json!("where")]).await.unwrap();
    assert_eq!((out.trim_end(), code), (dir.path().canonicalize().unwrap().to_str().unwrap(), 0.0));
    assert_eq!(run(&*shell, vec![json!("none"), json!(null)]).await.unwrap().0, "Hello\n");
    assert_eq!(run(&*shell, vec![json!("large")]).await.unwrap().0.len(), 3_000_000);
    assert_eq!(run(&*shell, vec![json!("dies")]).await.unwrap().2.to_string(), "-9");
    // What a command leaves running with its output does not hold the call.
    assert_eq!(run(&*shell, vec![json!("left")]).await.unwrap().0, "done\n");
}

#[tokio::test]
async fn descriptions_are_reported() {
    let tree = build(&format!(
        "{{d: {{type: {SHELL}, methods_description: {{b: mine}}, config: {{methods: {{a: {{command: x, description: A}}, \
         b: {{command: x, description: B}}}}}}}}}}"
    ))
    .await;
    let texts = &tree.reports()[1].methods_description;
    assert_eq!((texts["a"].as_str(), texts["b"].as_str()), ("A", "mine"));
}

#[tokio::test]
async fn what_a_client_may_not_do_is_refused() {
    let shell = driver(SHELL, "{methods: {ok: 'true', empty: ' '}, cwd: /nonexistent/dir}").await;
    for (args, part) in [
        (vec![json!("nothing"), json!({})], "'nothing' is not configured, only: ok"),
        (vec![json!("ok"), json!({"LD_X": "1"})], "'LD_X' is blocked"),
        (vec![json!("ok"), json!({"PATH": "1"})], "'PATH' is blocked"),
        (vec![json!("ok"), json!({"a b": "1"})], "no name"),
        (vec![json!("ok"), json!({"A": 1})], "'A' must be a string"),
        (vec![json!("ok"), json!({}), json!(1)], "argument 1 must be a string"),
        (vec![json!("ok"), json!([])], "must be a mapping"),
        (vec![json!(1.0), json!({})], "argument 1 (method)"),
        (vec![json!("empty"), json!({})], "empty command"),
        (vec![json!("ok"), json!({})], "/nonexistent/dir does not exist"),
    ] {
        let err = run(&*shell, args).await.unwrap_err();
        assert!(matches!(&err, DriverError::InvalidArgument(text) if text.contains(part)), "{part}: {err}");
    }
    let text = fault(SHELL, "{methods: {a: 1, b: {comand: x}}, timeout: soon}").await;
    for part in ["'a' must be a command", "'comand' is not known", "'timeout' (a string)"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[tokio::test]
async fn time_runs_out_for_the_whole_group() {
    let dir = tempfile::tempdir().unwrap();
    let pid = dir.path().join("pid");
    let command = format!("sleep 600 & echo $! > {}; echo started; wait", pid.display());
    let shell = driver(SHELL, &format!("{{methods: {{m: {{command: '{command}', timeout: 1}}}}}}")).await;
    let (out, err, code) = run(&*shell, vec![json!("m")]).await.unwrap();
    assert_eq!((out.as_str(), code), ("started\n", 199.0));
    assert!(err.contains("Timeout expired while running m"), "{err}");
    gone(&pid).await;
}

#[tokio::test]
async fn nothing_stays_of_a_call_that_is_dropped_or_a_driver_that_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let pid = dir.path().join("pid");
    let command = format!("sleep 600 & echo $! > {}; echo started; wait", pid.display());
    let shell = driver(SHELL, &format!("{{methods: {{m: '{command}'}}}}")).await;
    for drop_it in [true, false] {
        let mut output = shell.stream_call("call_method", vec![json!("m")]).await.unwrap();
        assert_eq!(output.try_next().await.unwrap().unwrap()[0], "started\n");
        if drop_it {
            drop(output);
        } else {
            let (closed, rest) = tokio::join!(shell.close(), output.try_collect::<Vec<_>>());
            closed.unwrap();
            assert_eq!(rest.unwrap().last().unwrap()[2], -15);
        }
        gone(&pid).await;
    }
}

/// Waits until the process whose number is in `file` has ended.
async fn gone(file: &std::path::Path) {
    let pid = std::fs::read_to_string(file).unwrap().trim().to_owned();
    let ended = async {
        loop {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // An orphan may wait for whoever reaps it.
            if stat.is_empty() || stat.contains(") Z ") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(30), ended).await.expect("the process ends");
}
