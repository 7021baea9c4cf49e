//! The README says of the variables what the program does.

use dispatcher::config::table::VARIABLES;

const README: &str = include_str!("../README.md");

#[test]
fn the_readme_lists_every_variable_with_its_default_and_meaning() {
    for variable in VARIABLES {
        let alias = variable.alias.map(|alias| format!(" (or `{alias}`)")).unwrap_or_default();
        let default = if variable.default.is_empty() { String::new() } else { format!("`{}`", variable.default) };
        let row = format!("| `{}`{alias} | {default} | {} |", variable.name, variable.meaning);
        assert!(README.lines().any(|line| line == row), "README.md lacks the row:\n{row}");
    }
    let listed = README.lines().skip_while(|line| !line.starts_with("<!-- variables")).skip(1);
    let rows = listed.take_while(|line| !line.is_empty()).filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, VARIABLES.len(), "README.md lists a variable that there is not");
}
