//! Files that the Python package writes and reads.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::{path::Path, process::Command};

use jumpstarter_config::{
    ClientConfig, ConfigHome, DriverInstance, Env, ExporterConfig, Hook, Hooks, ObjectMeta, OnFailure, Secret,
    TlsConfig, UserConfig,
};
use jumpstarter_peers::NEWEST;

const WRITE: &str = r"
from jumpstarter.config.client import *
from jumpstarter.config.common import ObjectMeta
from jumpstarter.config.exporter import *
from jumpstarter.config.tls import TLSConfigV1Alpha1
from jumpstarter.config.user import *
meta = ObjectMeta(namespace='lab', name='alice')
for alias, extra in {
    'plain': {},
    'full': dict(tls=TLSConfigV1Alpha1(ca='Zm9v', insecure=True), refresh_token='r', grpcOptions={'grpc.keepalive_time_ms': 1000},
                 drivers=ClientConfigV1Alpha1Drivers(allow=['a_*', 'b'], unsafe=False),
                 leases=ClientConfigV1Alpha1Lease(acquisition_timeout=60)),
}.items():
    ClientConfigV1Alpha1.save(ClientConfigV1Alpha1(alias=alias, metadata=meta, endpoint='lab:8082', token='a.b.c', **extra))
ExporterConfigV1Alpha1.save(ExporterConfigV1Alpha1(alias='ex', metadata=meta, endpoint='lab:8082', token='a.b.c', description='x', export={
    'power': {'type': 'p.MockPower', 'config': {'on': True, 'n': 1, 'f': 1.5, 's': 'yes', 'z': '0123', 'null': None}},
    'group': {'children': {'again': {'ref': 'power'}}},
}, hooks={'beforeLease': {'script': 'echo a\necho b', 'onFailure': 'endLease'}}))
user = UserConfigV1Alpha1.load_or_create()
user.use_client('full')
";

const READ: &str = r#"
import sys
from jumpstarter.config.client import *
from jumpstarter.config.exporter import *
from jumpstarter.config.user import *
c = ClientConfigV1Alpha1.load('mine')
assert (c.metadata.namespace, c.metadata.name, c.endpoint, c.token) == ('on', '0123', 'lab:8082', '12:30:45'), c
assert c.tls.ca == 'Zm9v' and c.drivers.allow == ['*'] and c.leases.acquisition_timeout == 7200, c
e = ExporterConfigV1Alpha1.load('ours')
assert e.token == '1e3' and e.description == "a: 'b' # c\nd", repr(e.description)
assert list(e.export) == ['power', 'yes', 'group'], e.export
assert e.export['power'].root.config == {'host': 'off', 'port': 80, 'x': None, 'y': ['~', True, '2024-01-01']}, e.export
assert e.export['group'].root.children['again'].root.ref == 'power'
assert e.hooks.before_lease.script == 'true' and not hasattr(e.hooks, 'check'), e.hooks
assert UserConfigV1Alpha1.load().config.current_client.alias == 'mine'
print('understood')
"#;

fn python(home: &Path, script: &str) -> String {
    let program = NEWEST.find().expect("the Python peers are installed").program("python");
    let output = Command::new(program).args(["-c", script]).env("JMP_CLIENT_CONFIG_HOME", home).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    text
}

#[test]
fn what_python_wrote_is_read_and_written_back_line_for_line() {
    let dir = tempfile::tempdir().unwrap();
    python(dir.path(), WRITE);
    let home = ConfigHome::at(dir.path());
    let env = Env::empty();
    let full = home.load_client("full", &env).unwrap();
    assert_eq!(full.leases.acquisition_timeout, 60);
    assert_eq!(full.drivers.allow, ["a_*", "b"]);
    assert_eq!(full.refresh_token.as_ref().unwrap().expose(), "r");
    assert_eq!(home.load_user().unwrap().current_client(), Some("full"));
    let exporter = home.load_exporter("ex", &env).unwrap();
    assert!(!exporter.hooks.is_empty());
    // Only quotes may differ.
    let text = |path: &Path| std::fs::read_to_string(path).unwrap().replace('"', "'");
    for alias in ["plain", "full"] {
        let path = home.client_path(alias).unwrap();
        let before = text(&path);
        home.save_client(&home.load_client(alias, &env).unwrap()).unwrap();
        assert_eq!(text(&path), before);
    }
    let before = home.load_exporter("ex", &env).unwrap();
    home.save_exporter(&before).unwrap();
    assert_eq!(home.load_exporter("ex", &env).unwrap(), before);
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(home.client_path("plain").unwrap()).unwrap());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn what_we_write_is_read_by_python() {
    let dir = tempfile::tempdir().unwrap();
    let home = ConfigHome::at(dir.path());
    let mut client = ClientConfig::new("mine", ObjectMeta::new("on", "0123"), "lab:8082", Secret::new("12:30:45"));
    client.tls = TlsConfig { ca: "Zm9v".to_owned(), insecure: false };
    client.drivers.allow = vec!["*".to_owned()];
    home.save_client(&client).unwrap();
    let mut user = UserConfig::default();
    user.set_current_client(Some("mine".to_owned()));
    home.save_user(&user).unwrap();
    let mut exporter = ExporterConfig::new("ours", ObjectMeta::new("lab", "ex"));
    exporter.token = Some(Secret::new("1e3"));
    exporter.description = Some("a: 'b' # c\nd".to_owned());
    // A check is ours alone, and ignored there.
    let hook = Hook { exec: None, script: "true".to_owned(), timeout: 1, on_failure: OnFailure::EndLease };
    exporter.hooks = Hooks { before_lease: Some(hook.clone()), after_lease: None, check: Some(hook) };
    let serde_json::Value::Object(config) =
        serde_json::json!({"host": "off", "port": 80, "x": null, "y": ["~", true, "2024-01-01"]})
    else {
        unreachable!()
    };
    let mut power = DriverInstance::of_type("p.Power");
    if let DriverInstance::Driver { config: slot, .. } = &mut power {
        *slot = config;
    }
    let again = DriverInstance::Proxy { r#ref: "power".to_owned() };
    let group = DriverInstance::Composite { children: [("again", again)].into_iter().collect() };
    exporter.export =
        [("power", power), ("yes", DriverInstance::of_type("p.Echo")), ("group", group)].into_iter().collect();
    home.save_exporter(&exporter).unwrap();
    assert!(python(dir.path(), READ).contains("understood"));
}
