"""The end of a trial."""

import lightning as L


class OneEpoch(L.Callback):
    """Ends training after the first epoch of this process, whatever ``max_epochs`` says."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.should_stop = True
