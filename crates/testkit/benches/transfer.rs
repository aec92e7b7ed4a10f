//! A file stored and read back through client, router and exporter, over the same file through a loopback socket.
//!
//! `TRANSFER_MIB` (1024) is its size. Files are kept in memory where the system has a place for that, so that the disk
//! is not what is measured; `TRANSFER_DIR` names another place. Every copy is compared with the original.

mod shared;

use std::{
    env, fs,
    fs::File,
    io::{self, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    thread,
    time::Instant,
};

use jumpstarter_client::{Session, Storage, Transfer};
use jumpstarter_testkit::{ExporterSetup, Jmp, Lab, figures::say, jmp::Release};

use crate::shared::leased;

const MIB: usize = 1024 * 1024;

/// Run inside a shell of the released client: the time of the two transfers alone, without that of its start.
const SCRIPT: &str = r#"
import sys, time
from pathlib import Path
from jumpstarter.common.utils import env
source, back = Path(sys.argv[1]), Path(sys.argv[2])
with env() as client:
    client.storage.exists("warm up")
    begin = time.monotonic()
    client.storage.write_from_path("remote.bin", source)
    print("write", time.monotonic() - begin, flush=True)
    begin = time.monotonic()
    client.storage.read_into_path("remote.bin", back)
    print("read", time.monotonic() - begin, flush=True)
"#;

/// Seconds of one store and one read.
#[derive(Clone, Copy)]
struct Took {
    write: f64,
    read: f64,
}

struct Files {
    _dir: tempfile::TempDir,
    source: PathBuf,
    back: PathBuf,
    storage: PathBuf,
    bytes: usize,
}

impl Files {
    fn new() -> Self {
        let mib: usize =
            env::var("TRANSFER_MIB").ok().map_or(1024, |text| text.parse().expect("TRANSFER_MIB is a number"));
        let memory = Path::new("/dev/shm");
        let place = env::var_os("TRANSFER_DIR").map_or_else(|| memory.to_owned(), PathBuf::from);
        let place = if place.is_dir() { place } else { env::temp_dir() };
        let dir = tempfile::Builder::new().prefix("jumpstarter-transfer-").tempdir_in(place).expect("make a directory");
        let storage = dir.path().join("storage");
        fs::create_dir(&storage).expect("make a directory");
        let files = Self {
            source: dir.path().join("source.bin"),
            back: dir.path().join("back.bin"),
            storage,
            bytes: mib * MIB,
            _dir: dir,
        };
        let mut source = File::create(&files.source).expect("create the file");
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut block = vec![0; MIB];
        for _ in 0..mib {
            for word in block.chunks_exact_mut(8) {
                // xorshift: no block is like another, and nothing compresses.
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                word.copy_from_slice(&seed.to_le_bytes());
            }
            source.write_all(&block).expect("write the file");
        }
        files
    }

    /// Panics unless both copies are the original; removes them.
    fn check(&self) {
        for copy in [self.storage.join("remote.bin"), self.back.clone()] {
            let open = |path: &Path| BufReader::with_capacity(MIB, File::open(path).expect("open a file"));
            let (mut one, mut two) = (open(&self.source), open(&copy));
            let (mut left, mut right) = (vec![0; MIB], vec![0; MIB]);
            assert_eq!(fs::metadata(&copy).expect("look at a file").len(), self.bytes as u64, "{}", copy.display());
            for _ in 0..self.bytes / MIB {
                one.read_exact(&mut left).expect("read a file");
                two.read_exact(&mut right).expect("read a file");
                assert!(left == right, "{} differs from the original", copy.display());
            }
            fs::remove_file(&copy).expect("remove a file");
        }
    }

    fn rate(&self, seconds: f64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let mib = self.bytes as f64 / MIB as f64;
        mib / seconds
    }
}

fn main() {
    jumpstarter_transport::install_crypto_provider();
    let files = Files::new();
    let plain = loopback(&files);
    report(&files, "file, loopback TCP, file (the limit)", plain, plain);
    let mixes: Vec<(&str, bool, bool)> = vec![
        ("Python exporter, Python client", false, false),
        ("Rust exporter, Python client", true, false),
        ("Python exporter, Rust client", false, true),
        ("Rust exporter, Rust client", true, true),
    ];
    for (name, rust_exporter, rust_client) in mixes {
        let took = mix(&files, rust_exporter, rust_client, false);
        report(&files, name, took, plain);
    }
    let checked = mix(&files, true, true, true);
    report(&files, "Rust exporter, Rust client, SHA-256 checked", checked, plain);
    let again = loopback(&files);
    report(&files, "file, loopback TCP, file (again)", again, plain);
}

fn report(files: &Files, name: &str, took: Took, plain: Took) {
    let ratio = |took: f64, plain: f64| format!("{:.0} MiB/s ({:.2} of the limit)", files.rate(took), plain / took);
    say(name, format_args!("write {}, read {}", ratio(took.write, plain.write), ratio(took.read, plain.read)));
}

/// The file through a socket, once each way.
fn loopback(files: &Files) -> Took {
    let copy = |from: &Path, to: &Path| {
        let begin = Instant::now();
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind a port");
        let address = listener.local_addr().expect("a bound socket");
        let from = from.to_owned();
        let sender = thread::spawn(move || {
            let (mut from, mut to) = (File::open(from)?, TcpStream::connect(address)?);
            pump(&mut from, &mut to)
        });
        let (mut from, _) = listener.accept().expect("accept");
        let mut to = File::create(to).expect("create a file");
        pump(&mut from, &mut to).expect("receive");
        to.sync_all().expect("sync");
        sender.join().expect("the sender does not panic").expect("send");
        begin.elapsed().as_secs_f64()
    };
    let remote = files.storage.join("remote.bin");
    let write = copy(&files.source, &remote);
    let read = copy(&remote, &files.back);
    files.check();
    Took { write, read }
}

/// Through memory, since the system's own short cuts between files and sockets are not what a peer could use.
fn pump(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            n => to.write_all(&buffer[..n])?,
        }
    }
}

fn mix(files: &Files, rust_exporter: bool, rust_client: bool, digest: bool) -> Took {
    let lab = Lab::start();
    let drivers = format!(
        "storage: {{ type: jumpstarter_driver_opendal.driver.Opendal, config: {{ scheme: fs, kwargs: {{ root: {} }} }} }}",
        files.storage.display()
    );
    let release = if rust_exporter { Release::Rust } else { Release::newest() };
    let _dut = lab.exporter(ExporterSetup::new("dut").drivers(&drivers).release(release));
    let took = if rust_client { with_rust(&lab, files, digest) } else { with_python(&lab, files) };
    files.check();
    took
}

fn with_python(lab: &Lab, files: &Files) -> Took {
    let alice: Jmp = lab.client("alice");
    let script = lab.sandbox.path().join("transfer.py");
    fs::write(&script, SCRIPT).expect("write a script");
    let text = |path: &Path| path.to_str().expect("paths of a sandbox are plain").to_owned();
    let (script, source, back) = (text(&script), text(&files.source), text(&files.back));
    let mut command = alice.command(&["shell", "-l", "name=dut", "--", "python", &script, &source, &back]);
    command.env("TERM", "dumb");
    let done = alice.run_command(command).ok();
    let seconds = |name: &str| {
        let line = done.stdout.lines().find_map(|line| line.strip_prefix(name)).expect("the script prints its times");
        line.trim().parse().expect("a time is a number")
    };
    Took { write: seconds("write "), read: seconds("read ") }
}

fn with_rust(lab: &Lab, files: &Files, digest: bool) -> Took {
    let runtime = tokio::runtime::Runtime::new().expect("start a runtime");
    runtime.block_on(async {
        let (client, lease) = leased(lab).await;
        let session: Session = client.session(&lease).await.expect("open a session");
        let storage = Storage::new(&session, "storage");
        storage.exists("warm up").await.expect("call a driver");
        let transfer = || Transfer { digest, ..Transfer::default() };
        let begin = Instant::now();
        storage.write_from("remote.bin", &files.source, transfer()).await.expect("store a file");
        let write = begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        storage.read_into("remote.bin", &files.back, transfer()).await.expect("read a file");
        let read = begin.elapsed().as_secs_f64();
        client.delete_lease(&lease).await.expect("release a lease");
        Took { write, read }
    })
}
