"""Pure functions that compute the measures of docs/method.md, "The measures", with intervals."""
