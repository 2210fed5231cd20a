//! The list of PCI functions kept with a recording: address, IDs, class and the driver bound in dom0.

use serde::Serialize;

use super::ImportError;
use super::Source;
use super::cursor::Cursor;

/// One PCI function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PciFunction {
    /// Segment, bus, device and function: `0000:00:06.0`.
    pub address: String,
    /// The vendor.
    pub vendor: u16,
    /// The device.
    pub device: u16,
    /// The class code: base class, subclass, programming interface.
    pub class: u32,
    /// The driver in dom0; none for a function dom0 does not drive.
    pub driver: Option<String>,
    /// The domain it is passed through to; none if it is nobody's, or who has it was not recorded.
    pub assigned: Option<u16>,
}

/// Reads the list.
///
/// # Errors
/// [`ImportError::Line`] at the first line that is no function.
pub fn parse(source: &Source) -> Result<Vec<PciFunction>, ImportError> {
    let text = source.text();
    let lines = (1u32..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(number, line)| parse_function(Cursor::new(source.name(), number, line.trim_end()))).collect()
}

/// `PCI 0000:00:06.0 0x1000 0x0079 class=0x010400 drv=megaraid_sas`, and ` dom=1` if it is passed through.
fn parse_function(mut cursor: Cursor<'_>) -> Result<PciFunction, ImportError> {
    cursor.expect("PCI")?;
    let before = cursor;
    let address = cursor.word("a PCI address")?.to_owned();
    if !is_address(&address) {
        return Err(before.error("a PCI address"));
    }
    cursor.expect("0x")?;
    let vendor = cursor.hex_as("a vendor ID")?;
    cursor.expect("0x")?;
    let device = cursor.hex_as("a device ID")?;
    cursor.expect("class=0x")?;
    let class = cursor.hex_as("a class code")?;
    cursor.expect("drv=")?;
    let (driver, domain) = match cursor.rest().split_once(" dom=") {
        Some((driver, domain)) => (driver, Some(domain.trim())),
        None => (cursor.rest(), None),
    };
    let number = |domain: &str| domain.parse().map_err(|_| cursor.error_at(domain, "a domain number"));
    let assigned = domain.map(number).transpose()?;
    let driver = Some(driver.trim()).filter(|driver| !driver.is_empty()).map(str::to_owned);
    Ok(PciFunction { address, vendor, device, class, driver, assigned })
}

/// Whether `text` is `ssss:bb:dd.f` in hexadecimal.
pub(crate) fn is_address(text: &str) -> bool {
    let shape = "hhhh:hh:hh.h";
    text.len() == shape.len()
        && text.chars().zip(shape.chars()).all(|(c, s)| if s == 'h' { c.is_ascii_hexdigit() } else { c == s })
}

impl PciFunction {
    /// The class in words, for the classes that matter to latency; else its number.
    #[must_use]
    pub fn class_name(&self) -> String {
        match self.class >> 8 {
            0x0100 | 0x0107 => "SCSI/SAS controller".to_owned(),
            0x0104 => "RAID controller".to_owned(),
            0x0106 => "SATA controller".to_owned(),
            0x0108 => "NVMe controller".to_owned(),
            0x0200 => "Ethernet controller".to_owned(),
            0x0300 => "display controller".to_owned(),
            0x0c03 => "USB controller".to_owned(),
            class => format!("class {class:04x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::import::Source;

    #[test]
    fn a_function_without_driver_and_a_wrong_address_are_told_apart() {
        let functions = parse(&Source::new("p", "PCI 0000:00:04.0 0x15ad 0x07b0 class=0x020000 drv=\n")).unwrap();
        assert_eq!((functions[0].driver.as_ref(), functions[0].class_name().as_str()), (None, "Ethernet controller"));
        let passed = "PCI 0000:00:04.0 0x15ad 0x07b0 class=0x020000 drv=pciback dom=7\n";
        let functions = parse(&Source::new("p", passed)).unwrap();
        assert_eq!((functions[0].driver.as_deref(), functions[0].assigned), (Some("pciback"), Some(7)));
        let error = parse(&Source::new("p", passed.replace("dom=7", "dom=x"))).unwrap_err();
        assert_eq!(error.to_string(), "p:1: expected a domain number, found \"x\"");
        let error = parse(&Source::new("p", "PCI 00:04.0 0x15ad 0x07b0 class=0x020000 drv=")).unwrap_err();
        assert!(error.to_string().starts_with("p:1: expected a PCI address, found \" 00:04.0"), "{error}");
    }
}
