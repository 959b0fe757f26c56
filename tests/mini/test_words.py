"""What a model was taught to draw is data of its preset."""

from portraitlib.models.presets import PRESETS
from recipes.first_mini.looks import vocabulary

POST = "indian boy with curly hair, jawline, trimmed beard, smiling, dimples, pimple on cheek"


def test_the_phrases_of_the_embedded_model_hold_the_words_of_the_post():
    phrases = {phrase for group in PRESETS["mini"].words.values() for phrase in group}
    assert {"indian", "boy", "curly hair", *POST.split(", ")[1:]} <= phrases
    assert not [phrase for phrase in phrases if "{" in phrase or "," in phrase]


def test_every_taught_word_is_in_the_vocabulary():
    said = {
        w for group in PRESETS["mini"].words.values() for phrase in group for w in phrase.split()
    }
    assert said <= set(vocabulary())


def test_a_model_without_a_list_has_no_words():
    assert PRESETS["sdxl"].words == {}
