//! The PCI functions of this host and who drives them: `pci.txt`.

use std::fs;
use std::io;
use std::path::Path;

/// Where the kernel lists them.
pub(super) const DEVICES: &str = "/sys/bus/pci/devices";

/// One line for each function, by address.
pub(super) fn list() -> io::Result<String> {
    list_below(Path::new(DEVICES))
}

fn list_below(devices: &Path) -> io::Result<String> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(devices)? {
        let function = entry?.path();
        let attribute = |name: &str| fs::read_to_string(function.join(name));
        // A function that goes away while it is read is left out.
        let (Ok(vendor), Ok(device), Ok(class)) = (attribute("vendor"), attribute("device"), attribute("class")) else {
            continue;
        };
        let driver = fs::read_link(function.join("driver")).ok();
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        lines.push(format!(
            "PCI {} {} {} class={} drv={}\n",
            name(&function),
            vendor.trim(),
            device.trim(),
            class.trim(),
            driver.as_deref().map(name).unwrap_or_default()
        ));
    }
    lines.sort_unstable();
    Ok(lines.concat())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use carillon_sim::import::Source;
    use carillon_sim::import::pci;

    use super::list_below;

    #[test]
    fn functions_are_listed_as_the_importer_reads_them() {
        let devices = tempfile::tempdir().expect("a directory");
        for (address, driver) in [("0000:00:06.0", Some("megaraid_sas")), ("0000:00:04.0", None)] {
            let function = devices.path().join(address);
            fs::create_dir(&function).expect("a directory");
            for (name, value) in [("vendor", "0x1000\n"), ("device", "0x0079\n"), ("class", "0x010400\n")] {
                fs::write(function.join(name), value).expect("a file");
            }
            if let Some(driver) = driver {
                symlink(format!("../../drivers/{driver}"), function.join("driver")).expect("a link");
            }
        }
        // One that is just going away.
        fs::create_dir(devices.path().join("0000:00:07.0")).expect("a directory");
        let functions =
            pci::parse(&Source::new("pci.txt", list_below(devices.path()).expect("a list"))).expect("functions");
        let seen: Vec<(&str, Option<&str>)> =
            functions.iter().map(|function| (function.address.as_str(), function.driver.as_deref())).collect();
        assert_eq!(seen, [("0000:00:04.0", None), ("0000:00:06.0", Some("megaraid_sas"))]);
    }
}
