//! Files and images between the released peers and ours.

use std::{
    fs, io,
    path::PathBuf,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll},
    time::Duration,
};

use jumpstarter_client::{ClientError, Flasher, Session, Storage, StorageMux, Transfer, Value};
use jumpstarter_testkit::{ExporterSetup, Lab, eventually, jmp::Release};
use serde_json::json;
use tokio::io::{AsyncRead, ReadBuf};

use crate::mine::Mine;

/// Every storage driver; the directory is made by the test.
fn drivers(root: &std::path::Path) -> String {
    let class = "jumpstarter_driver_opendal.driver";
    format!(
        "
storage: {{ type: {class}.Opendal, config: {{ scheme: fs, kwargs: {{ root: {} }}, remove_created_on_close: true }} }}
flasher: {{ type: {class}.MockFlasher }}
mux: {{ type: {class}.MockStorageMux }}
muxflasher: {{ type: {class}.MockStorageMuxFlasher }}
",
        root.display()
    )
}

fn root(lab: &Lab) -> PathBuf {
    let root = lab.sandbox.path().join("files");
    fs::create_dir_all(&root).unwrap();
    root
}

#[test]
fn a_released_client_stores_and_flashes_with_our_exporter() {
    let lab = Lab::start();
    let root = root(&lab);
    let mut dut = lab.exporter(ExporterSetup::new("dut").drivers(&drivers(&root)).release(Release::Rust));
    let alice = lab.client("alice");
    let script = lab.sandbox.path().join("use_storage.py");
    fs::write(&script, include_str!("use_storage.py")).unwrap();
    let mut command = alice.command(&["shell", "-l", "name=dut", "--", "python", script.to_str().unwrap()]);
    command.current_dir(lab.sandbox.dir("work")).env("TERM", "dumb");
    let done = alice.run_command(command).ok();
    for line in ["files ok", "paths ok", "paths of files ok", "flashing ok", "fetching ok", "switching ok"] {
        done.clone().says(line);
    }
    lab.await_available(&mut dut);
    eventually("what the session created is removed", Duration::from_mins(1), || {
        fs::read_dir(&root).unwrap().next().is_none().then_some(())
    });
}

/// Bytes, then an error.
struct Breaking(usize);

impl AsyncRead for Breaking {
    fn poll_read(mut self: Pin<&mut Self>, _cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.0 == 0 {
            return Poll::Ready(Err(io::Error::other("the disk is gone")));
        }
        let n = self.0.min(buf.remaining());
        buf.put_slice(&vec![7; n]);
        self.0 -= n;
        Poll::Ready(Ok(()))
    }
}

async fn use_all(session: &Session) {
    let bytes: Vec<u8> = (0..1_000_000_u32).flat_map(|n| n.wrapping_mul(7919).to_le_bytes()).collect();
    let storage = Storage::new(session, "storage");
    let told = AtomicU64::new(0);
    let mut progress = |bytes| told.store(bytes, Ordering::Relaxed);
    let transfer = Transfer { digest: true, progress: Some(&mut progress), ..Transfer::default() };
    let sent = storage.write("mine.bin", bytes.as_slice(), transfer).await.unwrap();
    assert_eq!((sent.bytes, told.load(Ordering::Relaxed)), (4_000_000, 4_000_000));
    let mut back = Vec::new();
    let got = storage.read("mine.bin", &mut back, Transfer { digest: true, ..Transfer::default() }).await.unwrap();
    assert!(back == bytes && got.sha256 == sent.sha256);
    assert_eq!(storage.hash("mine.bin", "sha256").await.unwrap(), sent.sha256.unwrap().to_string());
    assert!(storage.exists("mine.bin").await.unwrap() && !storage.exists("never").await.unwrap());
    assert_eq!(storage.stat("mine.bin").await.unwrap()["content_length"], json!(4_000_000.0));

    let mut empty = vec![1];
    storage.write("empty", &b""[..], Transfer::default()).await.unwrap();
    storage.read("empty", &mut empty, Transfer::default()).await.unwrap();
    assert_eq!(empty, [1]);

    let dir = tempfile::tempdir().unwrap();
    let (image, dump) = (dir.path().join("image"), dir.path().join("dump"));
    fs::write(&image, &bytes).unwrap();
    let flasher = Flasher::new(session, "flasher");
    flasher.flash_from(&image, Some("root"), Transfer::default()).await.unwrap();
    flasher.dump_into(&dump, Some("root"), Transfer::default()).await.unwrap();
    assert_eq!(fs::read(&dump).unwrap(), bytes);
    let failed = flasher.dump_into(&dir.path().join("nothing"), Some("never"), Transfer::default()).await;
    assert!(matches!(failed, Err(ClientError::Exporter { .. })), "{failed:?}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "a failed dump leaves no file");

    let mux = StorageMux::new(session, "muxflasher");
    mux.flash(bytes.as_slice(), Transfer::default()).await.unwrap();
    let mut back = Vec::new();
    mux.dump(&mut back, Transfer::default()).await.unwrap();
    assert_eq!(back, bytes);
}

#[test]
fn our_client_stores_and_flashes_with_a_released_exporter() {
    let lab = Lab::start();
    let mut dut = lab.exporter(ExporterSetup::new("dut").drivers(&drivers(&root(&lab))));
    let mine = Mine::start(&lab.client_config("bob"), "name=dut");
    mine.run(use_all(&mine.session));
    mine.end();
    lab.await_available(&mut dut);
}

#[test]
fn half_a_file_is_never_a_success() {
    let lab = Lab::start();
    let root = root(&lab);
    let mut dut = lab.exporter(ExporterSetup::new("dut").drivers(&drivers(&root)).release(Release::Rust));
    let mine = Mine::start(&lab.client_config("bob"), "name=dut");
    mine.run(use_all(&mine.session));
    mine.run(async {
        let session = &mine.session;
        // The sender's own disk fails.
        let flasher = Flasher::new(session, "flasher");
        let failed = flasher.flash(Breaking(2_000_000), Some("root"), Transfer::default()).await;
        assert!(matches!(&failed, Err(ClientError::File { .. })), "{failed:?}");
        // The image before is still there: half of another one has not replaced it.
        let mut image = Vec::new();
        flasher.dump(&mut image, Some("root"), Transfer::default()).await.unwrap();
        assert_eq!(image.len(), 4_000_000);
        // A compression that ends early, and one that nobody knows.
        let gzip = Transfer { encoding: Some("gzip"), ..Transfer::default() };
        let failed = flasher.flash(&[0x1f, 0x8b, 8, 0][..], None, gzip).await;
        assert!(matches!(&failed, Err(ClientError::Exporter { .. })), "{failed:?}");
        let brotli = Transfer { encoding: Some("brotli"), ..Transfer::default() };
        let failed = flasher.flash(&b"x"[..], None, brotli).await.unwrap_err();
        assert!(failed.to_string().contains("brotli"), "{failed}");
        // A handle that nobody offered, one that is used twice, and what is no handle.
        let never = json!({ "kind": "client_stream", "uuid": "11111111-1111-4111-8111-111111111111" });
        let failed = session.call("flasher", "flash", &[never]).await.unwrap_err();
        assert!(failed.to_string().contains("is not open"), "{failed}");
        for handle in [json!("x"), json!({}), Value::Null, json!({ "kind": "client_stream" })] {
            let failed = session.call("flasher", "flash", std::slice::from_ref(&handle)).await.unwrap_err();
            assert!(failed.to_string().contains("InvalidArgument"), "{handle}: {failed}");
        }
        let mut seen = Value::Null;
        let once = session.send_file(
            "flasher",
            "flash",
            |handle| {
                seen = handle.clone();
                vec![handle]
            },
            &b"once"[..],
            Transfer::default(),
        );
        once.await.unwrap();
        let failed = session.call("flasher", "flash", &[seen]).await.unwrap_err();
        assert!(failed.to_string().contains("is not open"), "{failed}");
        // Names that lead out of the driver's directory.
        for name in ["../x", "a/b", ".", ".hidden", ""] {
            let failed = flasher.flash(&b"x"[..], Some(name), Transfer::default()).await;
            assert!(matches!(&failed, Err(ClientError::Exporter { .. })), "{name}: {failed:?}");
        }
        // A device that takes no more, as a full disk.
        let full = Storage::new(session, "storage");
        std::os::unix::fs::symlink("/dev/full", root.join("full")).unwrap();
        let failed = full.write("full", &*vec![0; 3_000_000], Transfer::default()).await.unwrap_err();
        assert!(failed.to_string().contains("storage is full"), "{failed}");
    });
    // A client that vanishes in the middle leaves an exporter that can be leased again.
    mine.run(async {
        let flasher = Flasher::new(&mine.session, "flasher");
        let endless = flasher.flash(tokio::io::repeat(1), Some("root"), Transfer::default());
        assert!(tokio::time::timeout(Duration::from_millis(300), endless).await.is_err());
        let mut image = Vec::new();
        flasher.dump(&mut image, Some("root"), Transfer::default()).await.unwrap();
        assert_eq!(image.len(), 4_000_000, "what a lost client began has not replaced the image");
    });
    mine.end();
    lab.await_available(&mut dut);
}
