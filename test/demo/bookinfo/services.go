// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package bookinfo

import (
	"encoding/json"
	"net/http"
)

// Port is the port of all three services.
const Port = 9080

// Book is what the catalogue lists.
type Book struct {
	ID    int    `json:"id"`
	Title string `json:"title"`
}

// Details is what the details service knows of a book.
type Details struct {
	ID        int    `json:"id"`
	Author    string `json:"author"`
	Year      int    `json:"year"`
	Pages     int    `json:"pages"`
	Publisher string `json:"publisher"`
}

// Reviews is what the reviews service knows of a book.
type Reviews struct {
	ID      int      `json:"id"`
	Reviews []Review `json:"reviews"`
}

// Review is one opinion.
type Review struct {
	Reviewer string `json:"reviewer"`
	Text     string `json:"text"`
}

// catalogue holds one book, as the sample does.
var catalogue = []Book{{ID: 0, Title: "The Comedy of Errors"}}

// DetailsService answers GET /details/{id}.
func DetailsService() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /details/{id}", forBook(func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, Details{Author: "William Shakespeare", Year: 1595, Pages: 200, Publisher: "PublisherA"})
	}))
	return mux
}

// ReviewsService answers GET /reviews/{id}.
func ReviewsService() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /reviews/{id}", forBook(func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, Reviews{Reviews: []Review{
			{Reviewer: "Reviewer1", Text: "An extremely entertaining play by Shakespeare. The slapstick humour is refreshing!"},
			{Reviewer: "Reviewer2", Text: "Absolutely fun and entertaining. The play lacks thematic depth when compared to other plays by Shakespeare."},
		}})
	}))
	return mux
}

// forBook lets requests for the one book there is through.
func forBook(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("id") != "0" {
			http.NotFound(w, r)
			return
		}
		next(w, r)
	}
}

func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	// The client has gone if this fails, and nobody is left to tell.
	_ = json.NewEncoder(w).Encode(value)
}
