"""Who may send a request: tokens, listed users, DatasetGateway, versions that all may read, and who is kept out."""
