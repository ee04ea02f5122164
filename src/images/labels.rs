//! Labels, used only to report accuracy: the method itself never sees one.

use std::collections::BTreeMap;

use super::archive::base_name;
use super::error::ImageError;

/// Class numbers by file name, as a labels file gives them.
#[derive(Debug)]
pub(super) struct Labels {
    by_name: BTreeMap<String, u32>,
}

/// Largest class number: labels are stored as signed 32-bit integers.
const LARGEST: u32 = i32::MAX.cast_unsigned();

impl Labels {
    /// Parses a csv with the columns `file` and `label` (a class number from 0), in any order; other columns are ignored.
    pub fn parse(csv: &[u8]) -> Result<Self, ImageError> {
        let bare = csv.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(csv);
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bare);
        let headers = reader.headers().map_err(|e| ImageError::Labels(e.to_string()))?;
        let column = |wanted: &str| headers.iter().position(|name| name.eq_ignore_ascii_case(wanted));
        let (Some(file), Some(label)) = (column("file"), column("label")) else {
            return Err(ImageError::Labels("the first line does not name the columns file and label".to_owned()));
        };
        let mut by_name = BTreeMap::new();
        for record in reader.records() {
            let record = record.map_err(|e| ImageError::Labels(e.to_string()))?;
            let line = record.position().map_or(0, csv::Position::line);
            let (name, class) = (record.get(file).unwrap_or(""), record.get(label).unwrap_or(""));
            let class: u32 = class.parse().ok().filter(|class| *class <= LARGEST).ok_or_else(|| {
                ImageError::Labels(format!("line {line}: label {class:?} is not a class number (0 to {LARGEST})"))
            })?;
            let name = name.strip_prefix("./").unwrap_or(name).to_owned();
            if by_name.insert(name.clone(), class).is_some_and(|before| before != class) {
                return Err(ImageError::Labels(format!("line {line}: {name:?} has two different labels")));
            }
        }
        Ok(Self { by_name })
    }

    /// The label of an image: by its full name, else by its file name alone, as labels files often leave out a folder
    /// that packing has put in front.
    pub fn of(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).or_else(|| self.by_name.get(base_name(name))).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_may_stand_in_any_order_and_folders_may_be_left_out() {
        let labels = Labels::parse(b"\xEF\xBB\xBFlabel , file,note\n3,a.png,x\n 4 ,./dir/b.png,y\n").expect("parses");
        assert_eq!(labels.of("a.png"), Some(3));
        assert_eq!(labels.of("photos/a.png"), Some(3));
        assert_eq!(labels.of("dir/b.png"), Some(4));
        assert_eq!(labels.of("c.png"), None);
    }

    #[test]
    fn a_bad_line_is_named() {
        let cases: [(&[u8], &str); 7] = [
            (b"a.png,3\nb.png,4\n", "first line"),
            (b"file,label\na.png,3\nb.png,cat\n", "line 3: label \"cat\""),
            (b"file,label\na.png,3\na.png,4\n", "two different"),
            (b"file,label\na.png\n", "line"),
            (b"file,label\na.png,4294967295\n", "line 2: label \"4294967295\" is not a class number (0 to 2147483647)"),
            (b"file,label\na.png,2147483648\n", "line 2"),
            (b"file,label\na.png,-1\n", "line 2"),
        ];
        for (csv, part) in cases {
            let error = Labels::parse(csv).expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
