//! The PCI functions of this host, who drives them and who has them: `pci.txt`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use carillon_xen_host::XenError;
use carillon_xen_host::XenStore;

/// Where the kernel lists them.
pub(super) const DEVICES: &str = "/sys/bus/pci/devices";

/// One line for each function, by address; `assigned` has the domains that functions are passed through to.
pub(super) fn list(assigned: &BTreeMap<String, u16>) -> io::Result<String> {
    list_below(Path::new(DEVICES), assigned)
}

/// The functions passed through to a domain, as the toolstack wrote them down (`backend/pci`, `docs/misc/xenstore-paths`).
pub(super) fn assigned_to(store: &mut XenStore, domain: u16) -> Result<Vec<String>, XenError> {
    let backend = format!("/local/domain/0/backend/pci/{domain}");
    let mut functions = Vec::new();
    for device in store.list(&backend)? {
        for key in store.list(&format!("{backend}/{device}"))? {
            // Beside `dev-0` stand `key-0`, `opts-0`, `state-0`, `vdevfn-0`.
            if key.strip_prefix("dev-").is_some_and(|number| number.parse::<u32>().is_ok()) {
                functions.extend(store.read(&format!("{backend}/{device}/{key}"))?);
            }
        }
    }
    Ok(functions)
}

fn list_below(devices: &Path, assigned: &BTreeMap<String, u16>) -> io::Result<String> {
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
        let address = name(&function);
        let owner = assigned.get(&address).map(|domain| format!(" dom={domain}")).unwrap_or_default();
        lines.push(format!(
            "PCI {address} {} {} class={} drv={}{owner}\n",
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
    use std::collections::BTreeMap;
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
        let assigned = BTreeMap::from([("0000:00:04.0".to_owned(), 7), ("0000:00:09.0".to_owned(), 8)]);
        let list = list_below(devices.path(), &assigned).expect("a list");
        let functions = pci::parse(&Source::new("pci.txt", list)).expect("functions");
        let seen: Vec<(&str, Option<&str>, Option<u16>)> = functions
            .iter()
            .map(|function| (function.address.as_str(), function.driver.as_deref(), function.assigned))
            .collect();
        assert_eq!(seen, [("0000:00:04.0", None, Some(7)), ("0000:00:06.0", Some("megaraid_sas"), None)]);
    }
}
