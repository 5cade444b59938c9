// Renders the templates given as arguments with the values on standard input, as far as the chart needs it: for
// hosts with Go and without Helm.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	var values map[string]any
	check(json.NewDecoder(os.Stdin).Decode(&values))
	all := template.New("chart").Option("missingkey=error")
	all.Funcs(template.FuncMap{
		"include": func(name string, data any) (string, error) {
			var out bytes.Buffer
			err := all.ExecuteTemplate(&out, name, data)
			return out.String(), err
		},
		"dict": func(pairs ...any) map[string]any {
			made := map[string]any{}
			for i := 0; i+1 < len(pairs); i += 2 {
				made[pairs[i].(string)] = pairs[i+1]
			}
			return made
		},
		"toYaml": func(value any) (string, error) { // JSON is YAML, too
			var out bytes.Buffer
			encoder := json.NewEncoder(&out)
			encoder.SetEscapeHTML(false)
			err := encoder.Encode(value)
			text := strings.TrimSpace(out.String())
			if _, plain := value.(map[string]any); plain && text != "{}" {
				text = strings.TrimSuffix(strings.TrimPrefix(text, "{"), "}")
				var lines []string
				for key, each := range value.(map[string]any) {
					part, _ := json.Marshal(each)
					lines = append(lines, fmt.Sprintf("%s: %s", key, part))
				}
				text = strings.Join(lines, "\n")
			}
			return text, err
		},
		"nindent": func(spaces int, text string) string {
			pad := strings.Repeat(" ", spaces)
			return "\n" + pad + strings.ReplaceAll(text, "\n", "\n"+pad)
		},
		"quote": func(value any) string { return fmt.Sprintf("%q", fmt.Sprint(value)) },
		"required": func(message string, value any) (any, error) {
			if value == nil || value == "" {
				return nil, fmt.Errorf("%s", message)
			}
			return value, nil
		},
	})
	for _, path := range os.Args[1:] {
		text, err := os.ReadFile(path)
		check(err)
		_, err = all.New(filepath.Base(path)).Parse(string(text))
		check(err)
	}
	for _, path := range os.Args[1:] {
		if !strings.HasSuffix(path, ".yaml") {
			continue
		}
		fmt.Println("---")
		check(all.ExecuteTemplate(os.Stdout, filepath.Base(path), values))
	}
}
