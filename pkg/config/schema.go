package config

import (
	"encoding/json"

	"bulkhead/pkg/config/strict"
	"bulkhead/pkg/diag"
	"bulkhead/pkg/policy"
)

// Schema returns the JSON Schema (draft 2020-12) of a site's YAML files, for
// editors. It is made from the same description that the loader reads by, so a
// key is in one exactly if it is in the other. What needs more than one place to
// judge (references, cycles, duplicates) only the loader knows.
func Schema() []byte {
	l := &loader{site: &Site{Settings: defaults(), Book: &policy.Rulebook{}}, set: map[string]diag.Pos{}}
	s := strict.Object("a site file", nil, l.topKeys).Schema()
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "Bulkhead site file"
	s["description"] = "Any file of a site directory: assets, groups, services, policies, tests and settings."
	// The fragments are maps, lists, strings and numbers: Marshal cannot fail.
	out, _ := json.MarshalIndent(s, "", "  ")
	return append(out, '\n')
}
