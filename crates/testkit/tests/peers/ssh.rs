//! SSH to a real server, with either exporter, by either client.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::Command,
    time::Duration,
};

use jumpstarter_peers::NEWEST;
use jumpstarter_testkit::{ExporterSetup, Lab, Process, eventually, jmp::Release};
use serde_json::json;

/// A server that lets the user of this test in by `key`.
struct Server {
    _process: Process,
    port: u16,
    user: String,
    key: std::path::PathBuf,
}

#[track_caller]
fn output(command: &mut Command) -> String {
    let done = command.output().unwrap_or_else(|err| panic!("{command:?}: {err}: run `cargo xtask setup`"));
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

impl Server {
    fn start(lab: &Lab) -> Self {
        let dir = lab.sandbox.dir("sshd");
        let (host_key, key) = (dir.join("host"), dir.join("key"));
        for file in [&host_key, &key] {
            output(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(file));
        }
        let user = output(Command::new("id").arg("-un"));
        if user == "root" {
            // Where a server that root starts goes to before anyone has logged in; the package's service makes it.
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = dir.join("config");
        let text = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}.pub\nPidFile none\nUsePAM no\n\
             StrictModes no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n",
            host_key.display(),
            key.display()
        );
        fs::write(&config, text).unwrap();
        // It insists on an absolute path.
        let program = ["/usr/sbin/sshd", "/usr/bin/sshd", "/sbin/sshd"].map(Path::new);
        let program = program.into_iter().find(|path| path.exists()).expect("no sshd: run `cargo xtask setup`");
        let mut command = lab.sandbox.command(program, "sshd");
        command.args(["-D", "-e", "-f"]).arg(&config);
        let process = Process::start(&lab.sandbox, "sshd", command);
        eventually("sshd listens", Duration::from_mins(1), || TcpStream::connect(("127.0.0.1", port)).ok());
        Self { _process: process, port, user, key }
    }

    /// One driver that has the key itself, one that names its file, one without a key.
    fn drivers(&self) -> String {
        let class = "jumpstarter_driver_ssh.driver.SSHWrapper";
        let tcp = format!(
            "tcp: {{ type: jumpstarter_driver_network.driver.TcpNetwork, config: {{ host: 127.0.0.1, port: {} }} }}",
            self.port
        );
        let (user, file) = (&self.user, self.key.display());
        let key = json!(fs::read_to_string(&self.key).unwrap());
        format!(
            "
ssh:
  type: {class}
  config: {{ default_username: {user}, ssh_identity_file: {file} }}
  children: {{ {tcp} }}
inline:
  type: {class}
  config: {{ ssh_identity: {key} }}
  children: {{ {tcp} }}
absent:
  type: {class}
  config: {{ ssh_command: no-such-ssh }}
  children: {{ {tcp} }}
"
        )
    }
}

/// Uses the drivers with each `j` that is given; `$1` is the user.
const SCRIPT: &str = r#"
set -eu
user=$1
export TMPDIR="$KEYS"
shift
check() { [ "$2" = "$3" ] || { echo "$1: got '$2' instead of '$3'"; exit 1; }; }
for j; do
    check forwarded "$($j ssh 'echo "$SSH_CONNECTION" | cut -d" " -f4; id -un')" "$PORT
$user"
    check direct "$(echo typed | $j ssh --direct cat)" typed
    check options "$($j inline -T -l "$user" -o BatchMode=yes echo "two words" -l)" "two words -l"
    code=0; $j ssh exit 7 || code=$?
    check code "$code" 7
    code=0; $j absent true 2>/dev/null || code=$?
    check absent "$code" 127
    check "no keys are left" "$(ls "$TMPDIR")" ""
    echo "$j ok"
done
"#;

fn log_in(release: Release) {
    let lab = Lab::start();
    let server = Server::start(&lab);
    let mut dut = lab.exporter(ExporterSetup::new("dut").drivers(&server.drivers()).release(release));
    let alice = lab.client("alice").with(Release::Rust);
    let released = NEWEST.find().unwrap().program("j");
    let (released, ours) = (released.display().to_string(), lab.sandbox.path().join("bin/j").display().to_string());
    let words = ["shell", "-l", "name=dut", "--", "sh", "-c", SCRIPT, "sh", &server.user, &released, &ours];
    let mut command = alice.command(&words);
    command.env("PORT", server.port.to_string()).env("KEYS", lab.sandbox.dir("keys")).env("TERM", "dumb");
    alice.run_command(command).ok().says(&format!("{released} ok")).says(&format!("{ours} ok"));
    lab.await_available(&mut dut);
}

#[test]
fn both_clients_log_in_through_our_exporter() {
    log_in(Release::Rust);
}

#[test]
fn both_clients_log_in_through_a_released_exporter() {
    log_in(Release::newest());
}
