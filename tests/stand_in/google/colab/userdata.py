from google.colab import errors

SECRETS = {"HF_TOKEN": "hf_stand_in"}


class NotebookAccessError(Exception):
    pass


class SecretNotFoundError(errors.Error):
    pass


def get(key: str) -> str:
    if key not in SECRETS:
        raise SecretNotFoundError(key)
    return SECRETS[key]
