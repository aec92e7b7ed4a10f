//! A group of drivers without behaviour of its own.
use crate::Driver;

/// `jumpstarter_driver_composite.driver.Composite`, and the root of every tree.
pub(crate) struct Composite;

impl Driver for Composite {
    fn client(&self) -> &'static str {
        "jumpstarter_driver_composite.client.CompositeClient"
    }
}
