package daemon

import (
	"reflect"
	"regexp"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// queries are what reading routes take behind the question mark.
var queries = map[string][]struct {
	name     string
	required bool
	schema   map[string]any
}{
	"GET /v1/explain":   {{"src", true, aText}, {"dst", true, aText}, {"service", true, aText}},
	"GET /v1/groups":    {{"name", false, texts}},
	"GET /v1/inventory": {{"id", false, texts}},
	"GET /v1/history":   {{"limit", false, map[string]any{"type": "integer", "minimum": 0}}},
}

var (
	aText = map[string]any{"type": "string"}
	texts = map[string]any{"type": "array", "items": aText} // given several times
)

var pathParameter = regexp.MustCompile(`\{([a-z]+)\}`)

// openAPI describes the routes by themselves (OpenAPI 3.1): the list that calls are
// dispatched by is the one that is described.
func (a *API) openAPI(*request) (any, error) { return Describe() }

// Describe gives the description of the API.
func Describe() (map[string]any, error) {
	paths := map[string]map[string]any{}
	for _, r := range routes() {
		op := map[string]any{
			"summary":      r.doc,
			"operationId":  operationID(r),
			"x-permission": r.perm,
		}
		var params []any
		for _, m := range pathParameter.FindAllStringSubmatch(r.path, -1) {
			params = append(params, map[string]any{"name": m[1], "in": "path", "required": true, "schema": map[string]any{"type": "string"}})
		}
		for _, q := range queries[r.method+" "+r.path] {
			params = append(params, map[string]any{"name": q.name, "in": "query", "required": q.required, "schema": q.schema})
		}
		if params != nil {
			op["parameters"] = params
		}
		if r.in != nil {
			s, err := schemaOf(r.in)
			if err != nil {
				return nil, err
			}
			op["requestBody"] = map[string]any{"required": !optional(r.in), "content": map[string]any{"application/json": map[string]any{"schema": s}}}
		}
		responses := map[string]any{
			"401": map[string]any{"description": "nobody that is known"},
			"403": map[string]any{"description": "without the permission " + string(r.perm)},
		}
		ok := map[string]any{"description": "done"}
		if r.out != nil {
			s, err := schemaOf(r.out)
			if err != nil {
				return nil, err
			}
			ok["content"] = map[string]any{"application/json": map[string]any{"schema": s}}
		}
		responses["200"] = ok
		op["responses"] = responses
		if paths[r.path] == nil {
			paths[r.path] = map[string]any{}
		}
		paths[r.path][strings.ToLower(r.method)] = op
	}
	return map[string]any{
		"openapi": "3.1.0",
		"info": map[string]any{"title": "Bulkhead", "version": "1", "description": "Over a Unix socket the kernel says who calls: root and the daemon's own user may do " +
			"everything, the socket's group what --group-may says. Over TLS a bearer token does. x-permission is what an operation needs."},
		// Either says who calls: the socket, or a token.
		"security":   []any{map[string]any{}, map[string]any{"bearer": []string{}}},
		"paths":      paths,
		"components": map[string]any{"securitySchemes": map[string]any{"bearer": map[string]any{"type": "http", "scheme": "bearer"}}},
	}, nil
}

func operationID(r route) string {
	words := strings.FieldsFunc(r.path, func(c rune) bool { return c == '/' || c == '{' || c == '}' || c == '.' })
	return strings.ToLower(r.method) + "_" + strings.Join(words, "_")
}

// schemaOf gives the schema of a body. Answers that commands show as well have their
// own forms, which are described where the commands are.
func schemaOf(v any) (any, error) {
	switch v.(type) {
	case PlanCall, ApplyCall, TrialCall, PruneCall, RollbackCall, OverrideCall, DoneAnswer:
		return jsonschema.ForType(reflect.TypeOf(v), &jsonschema.ForOptions{})
	}
	return map[string]any{"type": "object"}, nil
}
