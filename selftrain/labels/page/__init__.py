"""The review page: one HTML file in which a person looks at pseudo-labels and accepts, rejects or corrects them.

The file holds everything, asks the network for nothing and opens from disk. What is decided there is downloaded as a
CSV file that ``selftrain.labels.review.read_review`` reads.
"""

from selftrain.labels.page.write import write_label_review, write_review

__all__ = ["write_label_review", "write_review"]
