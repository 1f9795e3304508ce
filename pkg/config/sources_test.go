package config

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
)

func TestSourceSettings(t *testing.T) {
	for _, tt := range []struct{ settings, want, hint string }{
		{"{regions: [eu-central-1], functions: off, image_names: true, timeout: 90s, tags: app}", "", ""},
		{"{regions: eu-central-1}", "", ""},
		{"{}", `s.yaml:1:11: error: source "c" of type "ec2" needs the setting "regions"`, ""},
		{"{region: [eu-central-1], regions: [x]}", `unknown setting of a source of type ec2 "region"`, `did you mean "regions"?`},
		{"{regions: []}", `"regions" must be a list of texts, and not be empty`, ""},
		{"{regions: {env: X}}", `"regions" must be a list`, ""},
		{"{regions: [x], functions: managed}", `unknown value of functions "managed"`, `did you mean "manage"?`},
		{"{regions: [x], image_names: yes please}", `"image_names" must be true or false`, ""},
		{"{regions: [x], timeout: soon}", `"timeout" must be a length of time`, ""},
		{"{regions: [x], timeout: 5ms}", `"timeout" must be a length of time`, ""},
		{"{regions: [x], profile: [a, b]}", `"profile" must be a text`, ""},
	} {
		s, d := LoadFiles(map[string][]byte{"s.yaml": []byte("sources: {c: {type: ec2, trust: full, settings: " + tt.settings + "}}\n")})
		if d.HasErrors() {
			t.Fatal(d.Text(nil))
		}
		got := s.CheckTypes(nil, []string{SourceEC2}).All()
		switch {
		case tt.want == "" && len(got) == 0:
		case tt.want != "" && len(got) == 1 && strings.Contains(got[0].Error(), tt.want) && got[0].Hint == tt.hint:
		default:
			t.Errorf("%s: %+v, want %q", tt.settings, got, tt.want)
		}
	}
	// A type that nobody told of its settings says itself what is wrong with them.
	if SourceSettings("snmp") != nil {
		t.Error("settings of an unknown type")
	}
}

// What the settings are, editors know too.
func TestSourceSettingsSchema(t *testing.T) {
	r := resolved(t)
	check := func(settings string) error {
		var v any
		if err := json.Unmarshal([]byte(`{"sources": {"c": {"type": "ec2", "settings": `+settings+`}}}`), &v); err != nil {
			t.Fatal(err)
		}
		return r.Validate(v)
	}
	if err := check(`{"regions": ["eu-central-1"], "functions": "off", "image_names": true, "timeout": "2m"}`); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{`{"regions": []}`, `{"functions": "of"}`, `{"image_names": "x"}`, `{"roles": {"env": "X"}}`} {
		if check(bad) == nil {
			t.Errorf("the schema takes %s", bad)
		}
	}
	var s jsonschema.Schema
	if err := json.Unmarshal(Schema(), &s); err != nil {
		t.Fatal(err)
	}
	props := s.Properties["sources"].AdditionalProperties.Properties["settings"].Properties
	for _, typ := range []string{SourceNeighbor, SourceEC2} {
		for _, k := range SourceSettings(typ) {
			if props[k.Name] == nil || !strings.Contains(props[k.Name].Description, k.Doc) {
				t.Errorf("the schema lacks the setting %q of type %q", k.Name, typ)
			}
		}
	}
}
