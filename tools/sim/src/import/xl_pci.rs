//! The devices a guest's configuration passes through (xl-pci-configuration(5)).

use super::ImportError;
use super::xl_config::Located;
use super::xl_config::XlConfig;
use super::xl_config::number;

/// One entry of the list `pci`: a function, or all of a device's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedThrough {
    /// The line it stands in.
    pub line: u32,
    /// Segment, bus and device: `0000:01:00`.
    pub device: String,
    /// The function; none for all the device has (`*`).
    pub function: Option<u8>,
    /// The guest may write all of its configuration space.
    pub permissive: bool,
    /// The device signals by MSI even where the guest uses its line.
    pub msi_translate: bool,
    /// It is taken from dom0's driver.
    pub seize: bool,
}

impl PassedThrough {
    /// Its address as the configuration has it, the segment always there.
    #[must_use]
    pub fn address(&self) -> String {
        match self.function {
            Some(function) => format!("{}.{function}", self.device),
            None => format!("{}.*", self.device),
        }
    }
}

impl XlConfig {
    /// The devices that are passed through.
    ///
    /// # Errors
    /// [`ImportError::Line`] at the first that `xl` would not understand.
    pub fn passed_through(&self) -> Result<Vec<PassedThrough>, ImportError> {
        let default = |name: &str| self.flag(name).map(|flag| flag.unwrap_or(false));
        let (permissive, msi_translate, seize) =
            (default("pci_permissive")?, default("pci_msitranslate")?, default("pci_seize")?);
        let entries = self.texts("pci")?.into_iter();
        entries.map(|entry| self.entry(entry, Defaults { permissive, msi_translate, seize })).collect()
    }

    fn entry(&self, Located { text, line }: Located<'_>, defaults: Defaults) -> Result<PassedThrough, ImportError> {
        let mut parts = text.split(',');
        let place = parts.next().unwrap_or_default().trim();
        let place = place.strip_prefix("bdf=").unwrap_or(place);
        let (address, slot) = place.split_once('@').map_or((place, None), |(address, slot)| (address, Some(slot)));
        let wrong = || self.error(line, "a PCI address as [DDDD:]BB:DD.F[@VSLOT]", text);
        if slot.is_some_and(|slot| !is_hex(slot, 2)) {
            return Err(wrong());
        }
        let (device, function) = address_of(address).ok_or_else(wrong)?;
        let Defaults { permissive, msi_translate, seize } = defaults;
        let mut entry = PassedThrough { line, device, function, permissive, msi_translate, seize };
        for option in parts.map(str::trim) {
            let (key, value) = option.split_once('=').ok_or_else(|| self.error(line, "KEY=VALUE", option))?;
            let flag = || number(value).map(|value| value != 0).ok_or_else(|| self.error(line, "0 or 1", option));
            match key {
                "permissive" => entry.permissive = flag()?,
                "msitranslate" => entry.msi_translate = flag()?,
                "seize" => entry.seize = flag()?,
                "power_mgmt" => drop(flag()?),
                "rdm_policy" | "vslot" | "name" => {}
                _ => return Err(self.error(line, "permissive, msitranslate, seize, power_mgmt or rdm_policy", option)),
            }
        }
        Ok(entry)
    }
}

/// What counts where an entry says nothing.
#[derive(Clone, Copy)]
struct Defaults {
    permissive: bool,
    msi_translate: bool,
    seize: bool,
}

/// `[DDDD:]BB:DD.F` as device and function.
fn address_of(text: &str) -> Option<(String, Option<u8>)> {
    let (device, function) = text.rsplit_once('.')?;
    let function = match function {
        "*" => None,
        digit => Some(u8::from_str_radix(digit, 8).ok().filter(|_| digit.len() == 1)?),
    };
    let parts: Vec<&str> = device.split(':').collect();
    let (segment, bus, slot) = match parts[..] {
        [bus, slot] => ("0", bus, slot),
        [segment, bus, slot] => (segment, bus, slot),
        _ => return None,
    };
    if !is_hex(segment, 4) || !is_hex(bus, 2) || !is_hex(slot, 2) {
        return None;
    }
    Some((format!("{segment:0>4}:{bus:0>2}:{slot:0>2}").to_ascii_lowercase(), function))
}

/// Whether a text is a hexadecimal number of at most so many digits.
fn is_hex(text: &str, digits: usize) -> bool {
    (1..=digits).contains(&text.len()) && text.chars().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use crate::import::Source;
    use crate::import::xl_config;

    fn entries(text: &str) -> Result<Vec<super::PassedThrough>, String> {
        let config = xl_config::parse(&Source::new("guest.cfg", text)).expect("a configuration");
        config.passed_through().map_err(|error| error.to_string())
    }

    #[test]
    fn addresses_have_their_segment_and_options_their_defaults() {
        let found =
            entries("pci_permissive=1\npci=['3B:00.0', '1:02:3.*@5,permissive=0,msitranslate=1,rdm_policy=strict']")
                .expect("two devices");
        assert_eq!((found[0].address(), found[0].permissive, found[0].seize), ("0000:3b:00.0".to_owned(), true, false));
        assert_eq!((found[1].address(), found[1].function), ("0001:02:03.*".to_owned(), None));
        assert_eq!((found[1].permissive, found[1].msi_translate), (false, true));
    }

    #[test]
    fn what_is_no_device_is_refused_by_its_line() {
        for wrong in ["00:01", "00:01.8", "g0:01.0", "00000:00:01.0", "00:01.0@x", "", "00:01.0.0"] {
            let error = entries(&format!("\npci=['{wrong}']")).expect_err(wrong);
            assert!(error.starts_with("guest.cfg:2: expected a PCI address"), "{wrong}: {error}");
        }
        let error = entries("pci=['00:01.0,premissive=1']").expect_err("a misspelt option");
        assert!(error.starts_with("guest.cfg:1: expected permissive, "), "{error}");
        assert!(entries("pci=['00:01.0,permissive=yes']").is_err());
    }
}
