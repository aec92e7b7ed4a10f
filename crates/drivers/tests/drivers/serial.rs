//! Serial ports, with PTYs in place of devices.
use std::{path::PathBuf, sync::Arc, time::Instant};

use jumpstarter_drivers::{Driver, DriverError};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_serial::{SerialPort as _, SerialStream};

use super::{driver, fault};

const SERIAL: &str = "jumpstarter_driver_pyserial.driver.PySerial";

/// The device's end of a port, and the path of the other.
fn device() -> (SerialStream, SerialStream, PathBuf) {
    let (device, port) = SerialStream::pair().unwrap();
    let path = port.name().unwrap().into();
    (device, port, path)
}

async fn serial(path: &std::path::Path, extra: &str) -> Arc<dyn Driver> {
    driver(SERIAL, &format!("{{url: {}{extra}}}", path.display())).await
}

#[tokio::test]
async fn bytes_pass_unchanged_both_ways() {
    let (mut device, port, path) = device();
    let serial = serial(&path, ", baudrate: 9600, disable_hupcl: true").await;
    let mut stream = serial.open("connect").await.unwrap();
    let all: Vec<u8> = (0..=255).collect();
    stream.write_all(&all).await.unwrap();
    let mut back = vec![0; 256];
    device.read_exact(&mut back).await.unwrap();
    assert_eq!(back, all);
    device.write_all(&all).await.unwrap();
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(back, all);
    // The client's end does not end what the device says.
    stream.shutdown().await.unwrap();
    device.write_all(b"more").await.unwrap();
    stream.read_exact(&mut back[..4]).await.unwrap();
    // A vanished device is the end.
    drop((device, port));
    assert_eq!(stream.read(&mut back).await.unwrap(), 0);
    let text = fault(SERIAL, &format!("{{url: {}}}", path.display())).await;
    assert!(text.contains(path.to_str().unwrap()) && text.contains("check_present"), "{text}");
}

#[tokio::test]
async fn hanging_up_ends_streams_and_new_ones_work() {
    let (mut device, _port, path) = device();
    let serial = serial(&path, "").await;
    for session_end in [false, true] {
        let mut stream = serial.open("connect").await.unwrap();
        let hang_up = async {
            if session_end { serial.close().await.unwrap() } else { drop(serial.call("close", vec![]).await.unwrap()) }
        };
        let mut byte = [0];
        let (read, ()) = tokio::join!(stream.read(&mut byte), hang_up);
        assert_eq!(read.unwrap(), 0);
        assert!(stream.write_all(b"late").await.is_err());
        let mut stream = serial.open("connect").await.unwrap();
        device.write_all(b"x").await.unwrap();
        stream.read_exact(&mut byte).await.unwrap();
        assert_eq!(&byte, b"x");
    }
}

#[tokio::test]
async fn a_missing_device_is_named() {
    let text = fault(SERIAL, "{url: /dev/ttyNONE0}").await;
    assert!(text.contains("'d'") && text.contains("/dev/ttyNONE0") && text.contains("plugged in"), "{text}");
    let serial = driver(SERIAL, "{url: /dev/ttyNONE0, check_present: false}").await;
    let err = serial.open("connect").await.err().unwrap();
    assert!(matches!(&err, DriverError::Connection { .. }) && err.to_string().contains("/dev/ttyNONE0"), "{err}");
    let err = serial.call("set_dtr", vec![json!(true)]).await.unwrap_err();
    assert!(matches!(err, DriverError::Connection { .. }), "{err}");
    let err = serial.call("set_rts", vec![json!(1.0)]).await.unwrap_err();
    assert!(matches!(&err, DriverError::InvalidArgument(text) if text.contains("a boolean")), "{err}");
    for (config, part) in [
        ("{url: 'rfc2217://h:1'}", "rfc2217"),
        ("{url: 'loop://', baudrate: 0}", "'baudrate'"),
        ("{url: 'loop://', baudrate: fast}", "'baudrate' (a string)"),
        ("{baudrate: 9600}", "'url' is missing"),
    ] {
        let text = fault(SERIAL, config).await;
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[tokio::test]
async fn loops_echo_at_the_configured_pace() {
    let serial = driver(SERIAL, "{url: 'loop://', cps: 100}").await;
    let mut stream = serial.open("connect").await.unwrap();
    let start = Instant::now();
    stream.write_all(b"slow enough").await.unwrap();
    // Ten pauses of 10 ms lie between eleven bytes.
    assert!(start.elapsed().as_millis() >= 100, "{:?}", start.elapsed());
    stream.shutdown().await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "slow enough");
}

#[tokio::test]
async fn sockets_stand_for_ports() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("socket://{}", listener.local_addr().unwrap());
    let accept = async {
        let (checked, _) = listener.accept().await.unwrap();
        drop(checked);
        listener.accept().await.unwrap().0
    };
    let open = async { driver(SERIAL, &format!("{{url: '{url}'}}")).await.open("connect").await.unwrap() };
    let (mut device, mut stream) = tokio::join!(accept, open);
    stream.write_all(b"hello").await.unwrap();
    let mut text = [0; 5];
    device.read_exact(&mut text).await.unwrap();
    assert_eq!(&text, b"hello");
    drop((device, listener));
    assert_eq!(stream.read(&mut text).await.unwrap(), 0);
    assert!(fault(SERIAL, &format!("{{url: '{url}'}}")).await.contains("127.0.0.1"));
}
