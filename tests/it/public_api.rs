//! Compares the public API of the libraries with the listings in tests/public-api, so that a reviewer sees every change.
//!
//! The listings are made from the source, because rustdoc's JSON needs a nightly toolchain. They lack what the source does
//! not show: items that macros generate, and auto traits such as `Send`. Hidden items are listed with `#[doc(hidden)]`.

use crate::tidy::workspace;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use syn::visit::{self, Visit};
use syn::visit_mut::{self, VisitMut};
use syn::{
    Attribute, Block, Ident, ImplItem, Item, ItemConst, ItemEnum, ItemImpl, ItemMod, ItemStatic,
    ItemStruct, ItemTrait, ItemType, ItemUnion, UseTree, Visibility, parse_quote,
};

/// The crates with a listing, and the one whose items they re-export.
const CRATES: [(&str, &str); 3] = [
    ("consul-session", "host/src"),
    ("consul-session-dev-agent", "host/dev-agent/src"),
    ("consul-session-core", "core/src"),
];

#[test]
fn listings_are_up_to_date() {
    let mut source = Source::default();
    for (package, folder) in CRATES {
        let folder = workspace().join(folder);
        let items = read(&folder.join("lib.rs"));
        source.add(package.replace('-', "_"), items, &folder);
    }
    let mut changes = String::new();
    for package in ["consul-session", "consul-session-dev-agent"] {
        let new = source.listing(&package.replace('-', "_"));
        let file = format!("tests/public-api/{package}.txt");
        let path = workspace().join(&file);
        if std::env::var_os("UPDATE_API").is_some() {
            std::fs::write(&path, &new).unwrap();
        }
        let old = std::fs::read_to_string(&path).unwrap_or_default();
        let difference = difference(&old, &new);
        if !difference.is_empty() {
            changes += &format!("{file}:\n{difference}");
        }
    }
    assert!(
        changes.is_empty(),
        "the public API differs from its listing\n{changes}If the change is intended, run \
         `UPDATE_API=1 cargo test --workspace --test it public_api` and commit the listing."
    );
}

/// Returns the removed and the added lines. Their order does not matter, because each line names its item.
fn difference(old: &str, new: &str) -> String {
    let (old, new): (BTreeSet<_>, BTreeSet<_>) = (old.lines().collect(), new.lines().collect());
    let mut difference = String::new();
    for line in old.symmetric_difference(&new) {
        let sign = if new.contains(line) { '+' } else { '-' };
        difference += &format!("{sign} {line}\n");
    }
    difference
}

fn read(path: &Path) -> Vec<Item> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    syn::parse_file(&text).unwrap().items
}

/// The source of the crates: paths have the form `consul_session::policy::Policy`.
#[derive(Default)]
struct Source {
    /// The items of each module.
    modules: BTreeMap<String, Vec<Item>>,
    /// Whether each name in a module is public, and its path if it is imported.
    names: BTreeMap<String, (bool, Option<String>)>,
}

impl Source {
    /// Adds a module and the modules in it, whose files are in `folder`, without tests.
    fn add(&mut self, module: String, mut items: Vec<Item>, folder: &Path) {
        let test = parse_quote!(#[cfg(test)]);
        items.retain(|item| !matches!(item, Item::Mod(item) if item.attrs.contains(&test)));
        for item in &mut items {
            if let Item::Mod(ItemMod { ident, content, .. }) = item {
                let folder = folder.join(ident.to_string());
                let file = folder.with_extension("rs");
                let items = match content.take() {
                    Some((_, items)) => items,
                    None if file.exists() => read(&file),
                    None => read(&folder.join("mod.rs")),
                };
                self.add(format!("{module}::{ident}"), items, &folder);
            }
            if let Item::Use(item) = item {
                for (name, path) in imports(&item.tree) {
                    let name = self.names.entry(format!("{module}::{name}"));
                    name.or_insert((is_public(&item.vis), Some(path)));
                }
            }
            if let Some((vis, name)) = declared(item) {
                let name = format!("{module}::{name}");
                self.names.insert(name, (is_public(vis), None));
            }
            Public.visit_item_mut(item);
        }
        self.modules.insert(module, items);
    }

    /// Lists everything that a crate makes public, one line per thing.
    fn listing(&self, root: &str) -> String {
        let mut exports = BTreeMap::new();
        self.exports(root, "", &mut exports);
        let impls = self.impls(&exports.values().collect());
        let mut listing = String::new();
        for (name, definition) in &exports {
            let (parent, name) = name.rsplit_once("::").unwrap_or(("", name));
            let (module, ident) = definition.rsplit_once("::").unwrap_or(("", definition));
            let mut block = Vec::new();
            for item in self.modules.get(module).into_iter().flatten() {
                if declared(item).is_some_and(|(_, found)| found == ident) {
                    block.extend(lines(item));
                }
            }
            if block.is_empty() || name != ident {
                block.insert(0, format!("pub use {definition} as {name};"));
            }
            for line in block
                .iter()
                .chain(impls.get(definition).into_iter().flatten())
            {
                let colon = if parent.is_empty() { "" } else { ": " };
                listing += &format!("{parent}{colon}{line}\n");
            }
            listing += "\n";
        }
        listing.trim_end().to_owned() + "\n"
    }

    /// Collects the public names in a module, each with the path of its definition.
    fn exports(&self, module: &str, parent: &str, exports: &mut BTreeMap<String, String>) {
        for (path, (public, import)) in &self.names {
            let Some((_, name)) = path
                .rsplit_once("::")
                .filter(|(found, _)| *public && *found == module)
            else {
                continue;
            };
            let import = import.as_ref();
            let definition = import.map_or(path.clone(), |path| {
                self.resolve(module, path).unwrap_or(path.clone())
            });
            if self.modules.contains_key(&definition) {
                self.exports(&definition, &format!("{parent}{name}::"), exports);
            }
            exports.insert(format!("{parent}{name}"), definition);
        }
    }

    /// Lists the implementations whose headers name only public items, by the item that each belongs to.
    fn impls(&self, public: &BTreeSet<&String>) -> BTreeMap<String, Vec<String>> {
        let mut impls = BTreeMap::<_, Vec<_>>::new();
        for (module, items) in &self.modules {
            for item in items {
                let Item::Impl(block) = item else { continue };
                let mut header = block.clone();
                header.items.clear();
                let mut paths = Paths::default();
                paths.visit_type(&header.self_ty);
                paths.visit_item_impl(&header);
                let named = paths.0.iter().filter_map(|path| self.resolve(module, path));
                let named: Vec<_> = named.collect();
                if let Some(owner) = named.first()
                    && named.iter().all(|path| public.contains(path))
                {
                    let lines = lines(item).into_iter();
                    // The header of an inherent implementation says nothing by itself.
                    let lines = lines.skip(usize::from(block.trait_.is_none()));
                    impls.entry(owner.clone()).or_default().extend(lines);
                }
            }
        }
        impls
    }

    /// Returns the path of the definition that a path in a module refers to, unless it is external.
    fn resolve(&self, module: &str, path: &str) -> Option<String> {
        let (first, rest) = path.split_once("::").unwrap_or((path, ""));
        let found = match first {
            "crate" => module.split("::").next()?.to_owned(),
            "self" => module.to_owned(),
            "super" => module.rsplit_once("::")?.0.to_owned(),
            _ => match self.names.get(&format!("{module}::{first}")) {
                Some((_, None)) => format!("{module}::{first}"),
                // In `use name::…::name`, the first name is a crate.
                Some((_, Some(path))) if path.split("::").next() != Some(first) => {
                    self.resolve(module, path)?
                }
                _ => self.modules.contains_key(first).then(|| first.to_owned())?,
            },
        };
        if rest.is_empty() || !self.modules.contains_key(&found) {
            return Some(found);
        }
        self.resolve(&found, rest)
    }
}

/// Returns the names that a `use` introduces, each with its path.
fn imports(tree: &UseTree) -> Vec<(String, String)> {
    match tree {
        UseTree::Name(name) => vec![(name.ident.to_string(), name.ident.to_string())],
        UseTree::Rename(name) => vec![(name.rename.to_string(), name.ident.to_string())],
        UseTree::Group(group) => group.items.iter().flat_map(imports).collect(),
        UseTree::Glob(_) => panic!("the listing of the public API does not follow `use …::*`"),
        UseTree::Path(path) => {
            let (first, rest) = (path.ident.to_string(), imports(&path.tree).into_iter());
            // `fmt::{self}` stands for `fmt`.
            let name = |name| if name == "self" { first.clone() } else { name };
            let path = |path| {
                if path == "self" {
                    first.clone()
                } else {
                    format!("{first}::{path}")
                }
            };
            rest.map(|(leaf, rest)| (name(leaf), path(rest))).collect()
        }
    }
}

/// Returns the visibility and the name of what an item declares.
fn declared(item: &Item) -> Option<(&Visibility, &Ident)> {
    match item {
        Item::Const(ItemConst { vis, ident, .. })
        | Item::Enum(ItemEnum { vis, ident, .. })
        | Item::Mod(ItemMod { vis, ident, .. })
        | Item::Static(ItemStatic { vis, ident, .. })
        | Item::Struct(ItemStruct { vis, ident, .. })
        | Item::Trait(ItemTrait { vis, ident, .. })
        | Item::Type(ItemType { vis, ident, .. })
        | Item::Union(ItemUnion { vis, ident, .. }) => Some((vis, ident)),
        Item::Fn(item) => Some((&item.vis, &item.sig.ident)),
        _ => None,
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// Collects the paths in a piece of source.
#[derive(Default)]
struct Paths(Vec<String>);

impl Visit<'_> for Paths {
    fn visit_path(&mut self, path: &syn::Path) {
        let names: Vec<_> = path
            .segments
            .iter()
            .map(|name| name.ident.to_string())
            .collect();
        self.0.push(names.join("::"));
        visit::visit_path(self, path);
    }
}

/// Removes what is not part of the API: private members, bodies and documentation.
struct Public;

impl VisitMut for Public {
    fn visit_attributes_mut(&mut self, attributes: &mut Vec<Attribute>) {
        let kept = "cfg deprecated derive must_use non_exhaustive repr".split(' ');
        let hidden = parse_quote!(#[doc(hidden)]);
        attributes.retain(|attribute| {
            *attribute == hidden || kept.clone().any(|name| attribute.path().is_ident(name))
        });
    }

    fn visit_block_mut(&mut self, block: &mut Block) {
        block.stmts.clear();
    }

    fn visit_item_impl_mut(&mut self, item: &mut ItemImpl) {
        let in_trait = item.trait_.is_some();
        item.items.retain(|item| match item {
            ImplItem::Const(item) => in_trait || is_public(&item.vis),
            ImplItem::Fn(item) => is_public(&item.vis),
            _ => true,
        });
        visit_mut::visit_item_impl_mut(self, item);
    }

    fn visit_item_struct_mut(&mut self, item: &mut ItemStruct) {
        for field in &mut item.fields {
            if !is_public(&field.vis) {
                field.ident = field.ident.as_ref().map(|_| parse_quote!(private));
                field.ty = parse_quote!(_);
            }
        }
        visit_mut::visit_item_struct_mut(self, item);
    }
}

/// Prints an item: a line without its members, then a line for each member.
fn lines(item: &Item) -> Vec<String> {
    let text = prettyplease::unparse(&parse_quote!(#item));
    let has_members = !matches!(item, Item::Const(_) | Item::Static(_) | Item::Type(_));
    let Some((header, members)) = text.split_once("{\n").filter(|_| has_members) else {
        return vec![one_line(&text)];
    };
    let mut lines = vec![one_line(header)];
    let owner: Vec<_> = header
        .lines()
        .filter(|line| !line.starts_with("#["))
        .collect();
    let owner = owner.join(" ");
    let mut member = String::new();
    for line in members.lines().take_while(|line| *line != "}") {
        member += line;
        member += "\n";
        // A comma that is indented further is inside a member.
        if line.ends_with([';', '}']) || line.ends_with(',') && !line.starts_with("     ") {
            lines.push(one_line(&format!("{owner} {{ {member} }}")));
            member.clear();
        }
    }
    lines.dedup();
    lines
}

fn one_line(text: &str) -> String {
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for (old, new) in [
        // Line breaks.
        ("( ", "("),
        (", )", ")"),
        ("[ ", "["),
        (", ]", "]"),
        (", }", " }"),
        // Empty bodies, private fields, and `mut`, which matters to bodies only.
        (" {}", ""),
        ("private: _", ".."),
        ("(mut ", "("),
        (", mut ", ", "),
    ] {
        line = line.replace(old, new);
    }
    line.trim_end_matches(',').to_owned()
}

const OTHER: &str = "
pub mod error {
    #[derive(Clone)]
    pub struct Error(Box<str>, pub u8);
    impl std::fmt::Display for Error {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(&self.0) }
    }
}";

const MAIN: &str = r#"
//! Documentation.
mod inner {
    use super::Private as Internal;
    use crate::Failure;
    #[derive(Clone, Debug)]
    #[non_exhaustive]
    /// Documentation.
    pub struct Settings<T> { pub name: String, secret: T }
    impl<T: Clone> Settings<T> {
        pub const LIMIT: usize = 3;
        #[must_use]
        pub fn rename(mut self, new_name: impl Into<String>, mut on_failure: impl Fn(&Failure)) -> Self { self }
        #[doc(hidden)]
        pub fn hidden(&mut self) {}
        pub(crate) fn internal(&self) {}
        fn private(&self) {}
    }
    impl std::str::FromStr for Settings<String> {
        type Err = Failure;
        fn from_str(text: &str) -> crate::Result<Self> { todo!() }
    }
    impl From<Internal> for Failure { fn from(_: Internal) -> Failure { todo!() } }
    pub enum Kind { Unit, Tuple(u8), Named { a: u8, b: String } }
    impl From<Kind> for String { fn from(kind: Kind) -> String { todo!() } }
    pub trait Store: Send {
        type Key;
        fn get<K>(&self, key: K) -> bool where K: Into<Self::Key>;
        fn len(&self) -> usize { 0 }
    }
}
pub use inner::{Kind, Settings, Store};
pub use other::error::{self, Error as Failure};
pub use std::time::Duration;
pub const VERSION: &str = "1.8.7";
pub type Result<T, E = Failure> = std::result::Result<T, E>;
pub async fn run<T>(mut input: T) -> Result<T> where T: Send + 'static { todo!() }
pub struct Unit;
struct Private;
#[cfg(test)]
mod tests { use super::*; }
"#;

const LISTING: &str = r#"pub use std::time::Duration as Duration;

pub use other::error::Error as Failure;
#[derive(Clone)] pub struct Error(_, pub u8);
impl std::fmt::Display for Error

pub enum Kind
pub enum Kind { Unit }
pub enum Kind { Tuple(u8) }
pub enum Kind { Named { a: u8, b: String } }
impl From<Kind> for String

pub type Result<T, E = Failure> = std::result::Result<T, E>;

#[derive(Clone, Debug)] #[non_exhaustive] pub struct Settings<T>
pub struct Settings<T> { pub name: String }
pub struct Settings<T> { .. }
impl<T: Clone> Settings<T> { pub const LIMIT: usize = 3; }
impl<T: Clone> Settings<T> { #[must_use] pub fn rename(self, new_name: impl Into<String>, on_failure: impl Fn(&Failure)) -> Self }
impl<T: Clone> Settings<T> { #[doc(hidden)] pub fn hidden(&mut self) }
impl std::str::FromStr for Settings<String>
impl std::str::FromStr for Settings<String> { type Err = Failure; }

pub trait Store: Send
pub trait Store: Send { type Key; }
pub trait Store: Send { fn get<K>(&self, key: K) -> bool where K: Into<Self::Key>; }
pub trait Store: Send { fn len(&self) -> usize }

pub struct Unit;

pub const VERSION: &str = "1.8.7";

pub mod error;

error: #[derive(Clone)] pub struct Error(_, pub u8);
error: impl std::fmt::Display for Error

pub async fn run<T>(input: T) -> Result<T> where T: Send + 'static
"#;

#[test]
fn a_listing_has_a_line_for_each_public_thing() {
    let mut source = Source::default();
    for (name, text) in [("main", MAIN), ("other", OTHER)] {
        let items = syn::parse_file(text).unwrap().items;
        source.add(name.to_owned(), items, Path::new(""));
    }
    let listing = source.listing("main");
    assert!(listing == LISTING, "{}", difference(LISTING, &listing));

    let changed = listing.replace("Unit }", "One }");
    let expected = "+ pub enum Kind { One }\n- pub enum Kind { Unit }\n";
    assert_eq!(difference(&listing, &changed), expected);
}
