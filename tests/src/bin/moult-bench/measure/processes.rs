//! A process and its descendants.

use std::collections::HashMap;
use std::fs;

/// `root` and every process below it that lives now.
pub fn tree(root: u32) -> Vec<u32> {
    let children = children_by_parent();
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        found.extend(children.get(&found[next]).into_iter().flatten());
        next += 1;
    }
    found
}

/// The fields of `/proc/PID/stat` behind the command name: index 0 is the state.
pub fn stat_fields(path: &str) -> Option<Vec<String>> {
    let text = fs::read_to_string(path).ok()?;
    let (_, behind_name) = text.rsplit_once(')')?;
    Some(behind_name.split_whitespace().map(str::to_owned).collect())
}

fn children_by_parent() -> HashMap<u32, Vec<u32>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for pid in pids {
        let parent = stat_fields(&format!("/proc/{pid}/stat")).and_then(|fields| fields.get(1)?.parse().ok());
        if let Some(parent) = parent {
            children.entry(parent).or_default().push(pid);
        }
    }
    children
}
