//! Power.
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use futures::StreamExt as _;
use jumpstarter_client::Value;
use serde_json::json;
use tokio::time::sleep;

use super::Use;
use crate::{failure::Failure, output};

pub(super) fn commands(virtual_machine: bool) -> Vec<Command> {
    let wait = Arg::new("wait")
        .short('w')
        .long("wait")
        .value_name("SECONDS")
        .default_value("2")
        .value_parser(value_parser!(u64))
        .help("Wait time in seconds between off and on");
    let count = Arg::new("count")
        .short('n')
        .long("count")
        .default_value("1")
        .value_parser(value_parser!(u64))
        .help("Number of readings (0 = infinite)");
    let interval = Arg::new("interval")
        .short('i')
        .long("interval")
        .value_name("SECONDS")
        .default_value("1.0")
        .value_parser(value_parser!(f64))
        .help("Seconds between readings");
    let mut off = Command::new("off").about("Power off");
    if virtual_machine {
        let help = "Destroy the instance after powering it off";
        off = off.arg(Arg::new("destroy").long("destroy").action(ArgAction::SetTrue).help(help));
    }
    vec![
        Command::new("on").about("Power on"),
        off,
        Command::new("cycle").about("Power cycle").arg(wait),
        Command::new("read").about("Read power measurements").arg(count).arg(interval),
    ]
}

pub(super) async fn run(
    driver: Use<'_>,
    virtual_machine: bool,
    name: &str,
    matches: &ArgMatches,
) -> Result<(), Failure> {
    let off = |destroy: bool| if virtual_machine { vec![json!(destroy)] } else { Vec::new() };
    match name {
        "on" => drop(driver.call("on", &[]).await?),
        "off" => drop(driver.call("off", &off(virtual_machine && matches.get_flag("destroy"))).await?),
        "cycle" => {
            let wait = matches.get_one::<u64>("wait").copied().unwrap_or_default();
            output::say(&format!("Power cycling with {wait} seconds wait time..."));
            driver.call("off", &off(false)).await?;
            sleep(Duration::from_secs(wait)).await;
            driver.call("on", &[]).await?;
        }
        _ => read(driver, matches).await?,
    }
    Ok(())
}

async fn read(driver: Use<'_>, matches: &ArgMatches) -> Result<(), Failure> {
    let count = matches.get_one::<u64>("count").copied().unwrap_or_default();
    let seconds = matches.get_one::<f64>("interval").copied().unwrap_or_default();
    let interval = Duration::try_from_secs_f64(seconds)
        .map_err(|_| Failure::new(format!("'{seconds}' is no number of seconds to wait")))?;
    let mut done = 0_u64;
    while count == 0 || done < count {
        let mut readings = driver.session.stream_call(driver.path, "read", &[]).await?;
        while let Some(reading) = readings.next().await {
            output::say(&line(&reading?)?);
        }
        done += 1;
        if count == 0 || done < count {
            sleep(interval).await;
        }
    }
    Ok(())
}

fn line(reading: &Value) -> Result<String, Failure> {
    let number = |key: &str| {
        reading[key].as_f64().ok_or_else(|| Failure::new(format!("the driver's reading has no '{key}': {reading}")))
    };
    let (voltage, current) = (number("voltage")?, number("current")?);
    Ok(format!("voltage={voltage:?} V  current={current:?} A  apparent_power={:?} VA", voltage * current))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings() {
        let reading = json!({ "voltage": 5.0, "current": 2.0 });
        assert_eq!(line(&reading).unwrap(), "voltage=5.0 V  current=2.0 A  apparent_power=10.0 VA");
        assert!(line(&json!({ "voltage": 5.0 })).is_err());
    }
}
