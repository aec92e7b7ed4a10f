//! Virtual machines: the real emulator, without a guest.
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use jumpstarter_drivers::{Driver, DriverError, DriverTree, storage::Outgoing};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use super::{build, fault};

const QEMU: &str = "jumpstarter_driver_qemu.driver.Qemu";

/// A machine alone in a tree.
struct Machine(DriverTree);

impl Machine {
    async fn new(config: &str) -> Self {
        Self(build(&format!("{{d: {{type: {QEMU}, config: {config}}}}}")).await)
    }

    /// The machine's child `name`, or the machine.
    fn part(&self, name: &str) -> &dyn Driver {
        let mut reports = self.0.reports().iter();
        let found = reports.find(|report| report.labels.get("jumpstarter.dev/name").is_some_and(|n| n == name));
        &**self.0.get(&found.unwrap().uuid).unwrap()
    }

    async fn call(&self, part: &str, method: &str, args: &[Value]) -> Result<Value, DriverError> {
        self.part(part).call(method, args.to_vec()).await
    }

    /// The error of a call.
    async fn refused(&self, part: &str, method: &str, args: &[Value]) -> String {
        self.call(part, method, args).await.unwrap_err().to_string()
    }

    async fn flash(&self, image: &[u8], partition: Value) -> Result<Value, DriverError> {
        let chunks: Vec<_> = image.chunks(100_000).map(|part| Ok(Bytes::copy_from_slice(part))).collect();
        let client = self.0.resources().offer(stream::iter(chunks).boxed()).unwrap();
        let handle = json!({ "kind": "client_stream", "uuid": client.id() });
        self.call("flasher", "flash", &[handle, partition]).await
    }

    async fn dump(&self, partition: Value) -> Result<Vec<u8>, DriverError> {
        let client = self.0.resources().offer(stream::pending().boxed()).unwrap();
        let handle = json!({ "kind": "client_stream", "uuid": client.id() });
        let read = async {
            let mut all = Vec::new();
            let mut client = client;
            while let Some(Outgoing::Data(chunk)) = client.next().await {
                all.extend_from_slice(&chunk);
            }
            all
        };
        let call = [handle, partition];
        // A refused call never opens the file.
        let (_, all) = tokio::try_join!(self.call("flasher", "dump", &call), async { Ok(read.await) })?;
        Ok(all)
    }
}

/// The emulators that have `word` among their arguments.
fn emulators(word: &str) -> Vec<i32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has = |pid: &i32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).into_owned();
        words.starts_with('/') && words.contains("qemu-system") && words.contains(word)
    };
    pids.filter(has).collect()
}

/// Waits until `condition` holds.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let work = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_mins(1), work).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// A name for the guest that no other test uses; it is among the arguments by the forwarded port.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn children_and_names_are_those_of_the_class() {
    let machine = Machine::new("{hostfwd: {web: {hostport: 18080, guestport: 80}}, username: joe}").await;
    let reports = machine.0.reports();
    let seen: Vec<_> = reports[2..]
        .iter()
        .map(|r| (r.labels["jumpstarter.dev/name"].as_str(), r.labels["jumpstarter.dev/client"].as_str()))
        .filter(|(name, _)| *name != "ssh")
        .collect();
    let network = "jumpstarter_driver_network.client.NetworkClient";
    let expected = [
        ("power", "jumpstarter_driver_power.client.PowerClient"),
        ("flasher", "jumpstarter_driver_qemu.client.QemuFlasherClient"),
        ("console", "jumpstarter_driver_pyserial.client.PySerialClient"),
        ("vnc", network),
        ("web", network),
    ];
    assert_eq!(seen, expected);
    assert_eq!(reports[1].labels["jumpstarter.dev/client"], "jumpstarter_driver_qemu.client.QemuClient");
    for (method, answer) in [("get_hostname", "demo"), ("get_username", "joe"), ("get_password", "password")] {
        assert_eq!(machine.call("d", method, &[]).await.unwrap(), json!(answer));
    }
    assert_eq!(machine.call("web", "address", &[]).await.unwrap(), json!("tcp://127.0.0.1:18080"));
    let Err(unimplemented) = machine.part("power").stream_call("read", vec![]).await else { panic!("readings") };
    assert!(matches!(unimplemented, DriverError::Unimplemented(_)), "{unimplemented}");
    for size in [json!("twenty"), json!(""), json!(20)] {
        for method in ["set_disk_size", "set_memory_size"] {
            let err = machine.call("d", method, std::slice::from_ref(&size)).await.unwrap_err();
            assert!(matches!(err, DriverError::InvalidArgument(_)), "{err}");
        }
    }
    machine.0.close().await;
}

#[tokio::test]
async fn faults_of_the_configuration_are_told_at_once() {
    let text = fault(
        QEMU,
        "{arch: ../x, smp: 0, mem: much, disk_size: 1e9, default_partitions: {boot: /x}, colour: red, \
         hostfwd: {a: {hostport: 0, guestport: 1}, b: {hostport: 1, guestport: 70000}, c: 22, \
         d: {hostport: 1, guestport: 1, protocol: udp}, e: {hostport: 1, guestport: 2, hostaddr: 'x,y'}}}",
    )
    .await;
    for part in [
        "'arch'",
        "'smp'",
        "'mem'",
        "'disk_size'",
        "'boot'",
        "'colour' is not known",
        "'a': ports",
        "'b'",
        "'c' must be",
        "only tcp",
        "'hostaddr'",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[tokio::test]
async fn images_are_unpacked_kept_whole_and_read_back() {
    let machine = Machine::new("{}").await;
    let image: Vec<u8> = (0..600_000_u32).flat_map(u32::to_le_bytes).collect();
    machine.flash(&image, json!(null)).await.unwrap();
    assert!(machine.dump(json!("root")).await.unwrap() == image);
    // Packed, as its first bytes say.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("image");
    fs::write(&file, &image[..1_000_000]).unwrap();
    let packed = Command::new("gzip").arg("-c").arg(&file).output().unwrap().stdout;
    machine.flash(&packed, json!("root")).await.unwrap();
    assert!(machine.dump(json!(null)).await.unwrap() == image[..1_000_000]);
    // Cut in the middle: the image before stays.
    let cut = machine.flash(&packed[..packed.len() / 2], json!("root")).await;
    assert!(cut.is_err());
    assert_eq!(machine.dump(json!(null)).await.unwrap().len(), 1_000_000);
    // Shorter than any signature.
    machine.flash(b"BZ", json!("bios")).await.unwrap();
    assert_eq!(machine.dump(json!("bios")).await.unwrap(), b"BZ");
    machine.flash(b"", json!("OVMF_VARS.fd")).await.unwrap();
    assert_eq!(machine.dump(json!("OVMF_VARS.fd")).await.unwrap(), b"");

    let never = machine.dump(json!("OVMF_CODE.fd")).await.unwrap_err().to_string();
    assert!(never.contains("OVMF_CODE.fd") && never.contains("flash it first"), "{never}");
    for (name, part) in [(json!("boot"), "root, bios, OVMF_CODE.fd, OVMF_VARS.fd"), (json!(1), "must be a string")] {
        let err = machine.flash(b"x", name).await.unwrap_err().to_string();
        assert!(err.contains(part), "{err}");
    }
    machine.0.close().await;
}

#[tokio::test]
async fn a_machine_runs_until_it_is_switched_off_and_leaves_nothing() {
    let port = free_port();
    let mark = format!("127.0.0.1:{port}-:80");
    let machine = Machine::new(&format!("{{hostfwd: {{web: {{hostport: {port}, guestport: 80}}}}}}")).await;
    machine.flash(&vec![0; 1 << 20], json!(null)).await.unwrap();
    machine.call("d", "set_disk_size", &[json!("2M")]).await.unwrap();
    machine.call("d", "set_memory_size", &[json!("64M")]).await.unwrap();
    let closed = machine.part("console").open("connect").await.err().unwrap();
    assert!(matches!(closed, DriverError::Connection { .. }), "{closed}");

    machine.call("power", "on", &[]).await.unwrap();
    let [pid] = emulators(&mark)[..] else { panic!("one emulator runs") };
    let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(words.contains("-m\x0067108864B\x00"), "{words:?}");
    let dir: PathBuf = machine_dir(&words);
    assert_eq!(fs::metadata(dir.join("root")).unwrap().len(), 2 << 20);
    let cloud_init = fs::read_to_string(dir.join("cidata/user-data")).unwrap();
    assert!(cloud_init.starts_with("#cloud-config\n") && cloud_init.contains("jumpstarter"), "{cloud_init}");
    // Once more changes nothing.
    machine.call("power", "on", &[]).await.unwrap();
    assert_eq!(emulators(&mark), [pid]);
    // The screen answers with its protocol's name, the forwarded port is taken.
    let mut screen = machine.part("vnc").open("connect").await.unwrap();
    let mut greeting = [0; 4];
    screen.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"RFB ");
    let other = Machine::new(&format!("{{hostfwd: {{web: {{hostport: {port}, guestport: 80}}}}}}")).await;
    let text = other.refused("power", "on", &[]).await;
    assert!(text.contains("'web'") && text.contains(&format!("127.0.0.1:{port}")), "{text}");
    other.0.close().await;

    // A console is open when the machine dies: it ends, and is not there any more.
    let mut console = machine.part("console").open("connect").await.unwrap();
    console.write_all(b"x").await.unwrap();
    Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap();
    let mut rest = Vec::new();
    timeout(Duration::from_mins(1), console.read_to_end(&mut rest)).await.unwrap().unwrap();
    until("the link to the console is gone", || fs::symlink_metadata(dir.join("pty")).is_err()).await;
    // A dead machine can be started again.
    machine.call("power", "on", &[]).await.unwrap();
    machine.call("power", "off", &[]).await.unwrap();
    assert_eq!(emulators(&mark), Vec::<i32>::new());
    machine.call("power", "off", &[]).await.unwrap();

    // The end of the session takes everything with it.
    machine.call("power", "on", &[]).await.unwrap();
    machine.0.close().await;
    assert_eq!(emulators(&mark), Vec::<i32>::new());
    assert!(!dir.exists());
    let text = machine.refused("power", "on", &[]).await;
    assert!(text.contains("session"), "{text}");
}

/// Where the machine whose arguments are `words` has its files.
fn machine_dir(words: &str) -> PathBuf {
    let screen = words.split('\0').find_map(|word| word.strip_prefix("unix:")).unwrap();
    Path::new(screen).parent().unwrap().to_owned()
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let absent = Machine::new("{arch: vax}").await;
    let text = absent.refused("power", "on", &[]).await;
    assert!(text.contains("qemu-system-vax") && text.contains("apt install"), "{text}");
    let missing = Machine::new("{default_partitions: {root: /nowhere/image.qcow2}}").await;
    let text = missing.refused("power", "on", &[]).await;
    assert!(text.contains("/nowhere/image.qcow2") && text.contains("'root'"), "{text}");
    let odd = Machine::new("{cpu: perpetuum-mobile}").await;
    let text = odd.refused("power", "on", &[]).await;
    assert!(text.contains("perpetuum-mobile"), "{text}");
    // It can be tried again, and closing it is no error.
    let text = odd.refused("power", "on", &[]).await;
    assert!(text.contains("perpetuum-mobile"), "{text}");
    for machine in [absent, missing, odd] {
        machine.0.close().await;
    }
}

#[tokio::test]
async fn images_of_clients_lead_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let (secret, image) = (dir.path().join("secret"), dir.path().join("image"));
    fs::write(&secret, vec![7; 1 << 20]).unwrap();
    let made = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
        .args([&secret, &image])
        .status()
        .expect("install qemu-img: `cargo xtask setup`");
    assert!(made.success());
    let machine = Machine::new("{}").await;
    machine.flash(&fs::read(&image).unwrap(), json!(null)).await.unwrap();
    let text = machine.refused("power", "on", &[]).await;
    assert!(text.contains("refers to another file") && text.contains("secret"), "{text}");
    machine.flash(&[0; 4096], json!(null)).await.unwrap();
    machine.call("d", "set_disk_size", &[json!("1K")]).await.unwrap();
    let text = machine.refused("power", "on", &[]).await;
    assert!(text.contains("cannot be made smaller"), "{text}");
    machine.call("d", "set_disk_size", &[json!("9000T")]).await.unwrap();
    let text = machine.refused("power", "on", &[]).await;
    assert!(text.contains("does not fit"), "{text}");
    machine.0.close().await;
}

#[tokio::test]
async fn container_images_come_through_their_tool() {
    // Already there when another test was first.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let dir = tempfile::tempdir().unwrap();
    let tool = dir.path().join("fls");
    let script = "#!/bin/sh\necho \"fetching $2 as $FLS_REGISTRY_USERNAME\"\ncase $2 in *bad) echo no >&2; exit 3;; esac\n\
                  printf image > \"$3\"\n";
    fs::write(&tool, script).unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    // Served from a file's own server: the custom tool is fetched by its URL.
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/fls", server.local_addr().unwrap());
    let mut serving = tokio::task::JoinSet::new();
    serving.spawn(async move {
        let (mut io, _) = server.accept().await.unwrap();
        let mut request = [0; 2048];
        let _ = io.read(&mut request).await.unwrap();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{script}", script.len());
        io.write_all(head.as_bytes()).await.unwrap();
    });
    let forbidden = Machine::new(&format!("{{fls_custom_binary_url: '{url}'}}")).await;
    let text = forbidden.refused("flasher", "flash", &[json!("oci://reg/image")]).await;
    assert!(text.contains("fls_allow_custom_binaries"), "{text}");
    let config = format!("{{fls_custom_binary_url: '{url}', fls_allow_custom_binaries: true}}");
    let machine = Machine::new(&config).await;
    let flash = async |url: &str, more: &[Value]| {
        let args = [&[json!(url)][..], more].concat();
        let items: Vec<_> = machine.part("flasher").stream_call("flash_oci", args).await?.collect().await;
        items.into_iter().collect::<Result<Vec<Value>, DriverError>>()
    };
    let said = flash("oci://reg/image", &[json!(null), json!("joe"), json!("pw")]).await.unwrap();
    assert_eq!(said[0][0], json!("fetching oci://reg/image as joe\n"));
    assert_eq!(said.last().unwrap()[2], json!(0));
    assert_eq!(machine.dump(json!(null)).await.unwrap(), b"image");
    let failed = flash("oci://reg/bad", &[]).await.unwrap_err().to_string();
    assert!(failed.contains("code 3"), "{failed}");
    assert_eq!(machine.dump(json!(null)).await.unwrap(), b"image");
    machine.call("flasher", "flash", &[json!("oci://reg/again"), json!("bios")]).await.unwrap();
    assert_eq!(machine.dump(json!("bios")).await.unwrap(), b"image");
    for (url, more, part) in
        [("http://reg/image", vec![], "begins with oci://"), ("oci://x", vec![json!(null), json!("joe")], "both")]
    {
        let err = flash(url, &more).await.unwrap_err().to_string();
        assert!(err.contains(part), "{err}");
    }
    serving.join_next().await.unwrap().unwrap();
    machine.0.close().await;
    forbidden.0.close().await;
}
